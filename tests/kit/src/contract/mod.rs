//! What every store must do, stated once: each package that has a store runs these cases on it.
//!
//! A case is a function over a fresh `Arc<dyn Store>` of three shards whose clock is
//! [`clock::clock`]. [`for_each_case!`](crate::for_each_case) names all of them.

#![allow(missing_docs, reason = "the name of a case says what it demands")]
#![allow(clippy::disallowed_methods, reason = "a test may start threads and wait on the clock")]

pub mod clock;
pub mod commit;
pub mod directory;
pub mod due;
pub mod fence;
pub mod heir;
pub mod import;
pub mod ownership;
pub mod pages;
pub mod retention;
pub mod stage;

/// Calls `$with!` with every case, as `module::case`.
#[macro_export]
macro_rules! for_each_case {
    ($with:ident) => {
        $with! {
            fence::old_generation_cannot_commit
            fence::old_generation_cannot_read
            fence::every_step_refuses_every_stale_fence
            fence::a_sealed_head_refuses_everything
            fence::confirm_tells_fences_apart
            fence::confirm_takes_any_number
            fence::a_read_beyond_the_head_is_fenced
            fence::unknown_databases_are_missing
            fence::numbers_out_of_range_are_refused
            ownership::create_makes_the_first_generation
            ownership::create_is_not_open
            ownership::create_tells_that_the_actor_exists
            ownership::create_keeps_the_shard
            ownership::concurrent_creates_make_one_actor
            ownership::two_takeovers_have_one_winner
            ownership::concurrent_takeovers_have_one_winner
            ownership::a_busy_owner_cannot_hold_off_a_takeover
            ownership::takeover_counts_restarts
            ownership::takeover_hands_the_snapshot_over
            ownership::a_seal_without_snapshot_drops_the_older_one
            ownership::a_seal_keeps_the_txid_and_wants_the_head_it_knows
            ownership::a_snapshot_over_the_limit_is_refused
            ownership::takeover_of_another_name_changes_nothing
            heir::a_seal_appoints_the_heir_in_its_own_step
            heir::an_heir_is_replaced_like_any_owner
            heir::what_only_a_takeover_tells_is_left_to_one
            heir::a_claim_tells_who_runs_an_heir
            commit::a_commit_moves_the_head_by_one
            commit::a_resent_commit_is_fenced_and_its_row_tells
            commit::concurrent_resends_apply_once
            commit::success_is_told_at_most_once_and_nothing_else_is
            commit::a_commit_that_leaves_holes_changes_nothing
            commit::malformed_pages_are_refused
            commit::limits_are_refused_and_change_nothing
            commit::commits_of_many_actors_keep_apart
            commit::one_refused_among_many_stops_nobody
            commit::times_rise
            commit::a_large_commit_comes_back
            stage::a_staged_commit_is_one_commit
            stage::staged_rows_are_invisible
            stage::every_stale_fence_is_refused
            stage::a_chunk_that_comes_twice_is_written_once
            stage::a_late_chunk_of_a_stage_that_was_given_up_is_harmless
            stage::a_staged_commit_that_leaves_holes_changes_nothing
            stage::a_commit_names_what_was_staged
            stage::leftovers_are_collected_in_bounded_steps
            stage::what_may_still_be_committed_is_not_collected
            stage::destroy_takes_leftovers_along
            pages::pages_come_as_of_a_txid
            pages::pages_come_in_the_order_asked
            pages::a_page_outside_is_corrupt
            pages::too_many_pages_are_refused
            pages::cut_off_pages_never_come_back
            pages::history_lists_what_was_written
            pages::random_histories_read_as_the_model
            pages::export_is_the_database_as_of_any_txid
            pages::verify_finds_a_written_database_sound
            retention::the_floor_stops_at_head_pin_and_kept_commits
            retention::what_is_kept_reads_as_before
            retention::pins_are_checked_in_their_own_step
            retention::a_row_in_use_is_not_trimmed_whatever_is_told
            retention::databases_are_trimmed_together
            retention::trimming_races_with_everything
            retention::a_base_of_forks_is_not_destroyed
            import::an_import_is_finished_in_one_step
            import::an_unfinished_import_is_emptied_in_bounded_steps
            import::no_other_head_is_touched_by_import
            due::the_due_time_comes_with_the_commit
            due::a_refused_commit_leaves_the_due_time
            due::a_staged_commit_brings_its_due_time
            due::commits_of_many_actors_write_each_its_due_time
            due::due_actors_come_by_time_and_name_in_bounded_looks
            due::only_the_owner_settles_a_due_time_and_only_at_its_commit
            due::a_rewrite_never_takes_back_what_a_commit_says
            due::a_destroy_takes_the_due_time_along
            directory::actors_are_listed_in_order_over_all_shards
            directory::destroy_leaves_nothing
            directory::destroy_wants_the_owner_and_the_mark
            directory::a_destroy_is_finished_by_the_next_owner
            directory::components_are_kept_by_digest
            directory::kinds_count_their_deployments
            directory::actors_of_a_kind_are_counted
            directory::nodes_come_beat_and_go
            directory::a_closed_store_says_so
        }
    };
}
