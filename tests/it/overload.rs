//! A flood of one kind's calls takes neither the room of other kinds nor that of operators.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use stockade_tests::guest;
use stockade_tests::program::Program;

#[test]
fn a_flood_of_one_kind_is_refused_to_itself_and_an_operator_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[host]\nrequests_max = 24\n[limits]\ncall_time_ms = 5000\n";
    let program = Program::serve_configured(&dir.path().join("data"), config).unwrap();
    for guest in [guest::HOSTILE_LOOP, guest::TYPED_ALL] {
        program.deploy(guest.name, &guest.wasm().unwrap()).unwrap();
    }
    // By chance all calls of one actor may be refused: each exists before.
    for n in 0..4 {
        let made = program.call(&format!("hostile_loop/{n}"), "hello", &json!([])).unwrap();
        assert_eq!(made.status, 200, "{}", made.body);
    }
    thread::scope(|scope| {
        let flood: Vec<_> = (0..40)
            .map(|n| {
                let (program, actor) = (&program, format!("hostile_loop/{}", n % 4));
                scope.spawn(move || program.call(&actor, "spin", &json!([])).unwrap())
            })
            .collect();
        let is_refused = |flood: &Vec<thread::ScopedJoinHandle<'_, _>>| {
            flood.iter().filter(|call| call.is_finished()).count() >= 28
        };
        let until = Instant::now() + Duration::from_secs(15);
        while !is_refused(&flood) {
            assert!(Instant::now() < until, "half of the room is for others");
            thread::sleep(Duration::from_millis(20));
        }
        for n in 0..20 {
            let good = program.call(&format!("typed_all/{n}"), "echo-u8", &json!([n])).unwrap();
            assert_eq!(good.status, 200, "{}", good.body);
        }
        for n in 0..4 {
            let route = format!("/admin/actors/hostile_loop/{n}/stop");
            let stopped = program.admin_post(&route, &json!({})).unwrap();
            assert_eq!(stopped.status, 200, "{}", stopped.body);
        }
        let refused = flood.into_iter().map(|call| call.join().unwrap());
        let refused =
            refused.filter(|reply| reply.body["code"] == "overloaded").collect::<Vec<_>>();
        assert!(refused.len() >= 28, "{}", refused.len());
        assert!(refused.iter().all(|reply| reply.body["group"] == "host"), "{refused:?}");
    });
}

/// Each long statement holds a thread, of which there are 512: a kind gets as many as it leaves
/// free.
#[test]
fn a_kind_with_many_long_statements_leaves_threads_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[limits]\ncall_time_ms = 20000\n";
    let program = Program::serve_configured(&dir.path().join("data"), config).unwrap();
    for guest in [guest::HOSTILE_LOOP, guest::COUNTER] {
        program.deploy(guest.name, &guest.wasm().unwrap()).unwrap();
    }
    thread::scope(|scope| {
        let flood: Vec<_> = (0..280)
            .map(|n| {
                let (program, actor) = (&program, format!("hostile_loop/{n}"));
                scope.spawn(move || program.call(&actor, "spin-in-sql", &json!([])).unwrap())
            })
            .collect();
        let until = Instant::now() + Duration::from_secs(15);
        while flood.iter().filter(|call| call.is_finished()).count() < 24 {
            assert!(Instant::now() < until, "256 have threads, the others are refused");
            thread::sleep(Duration::from_millis(20));
        }
        for n in 0..20 {
            let good = program.call(&format!("counter/{n}"), "increment", &json!([1])).unwrap();
            assert_eq!(good.status, 200, "{}", good.body);
        }
        let (refused, running): (Vec<_>, Vec<_>) =
            flood.into_iter().partition(thread::ScopedJoinHandle::is_finished);
        for call in refused {
            let refused = call.join().unwrap();
            let said = refused.body["err"].as_str().unwrap_or_default();
            assert!(said.contains("Unavailable"), "{}: {}", refused.status, refused.body);
        }
        assert!(running.len() > 200, "{} have threads", running.len());
        for call in running {
            assert_eq!(call.join().unwrap().body["code"], "budget-exhausted");
        }
    });
    program.stop().unwrap();
}

/// The values of large bodies fill the shared room; a small body never needs it.
#[test]
fn large_bodies_take_no_room_from_small_ones() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[host]\nbodies_bytes_max = 100_000_000\n";
    let program = Program::serve_configured(&dir.path().join("data"), config).unwrap();
    program.deploy("typed_all", &guest::TYPED_ALL.wasm().unwrap()).unwrap();
    let ended = AtomicBool::new(false);
    // Two million values of the engine, 40 bytes each.
    let large = json!(["A".repeat(2_666_664)]);
    thread::scope(|scope| {
        let flood: Vec<_> = (0..4)
            .map(|n| {
                let (program, ended, large) = (&program, &ended, &large);
                scope.spawn(move || {
                    let mut codes = Vec::new();
                    while !ended.load(Ordering::Relaxed) {
                        let reply = program.call(&format!("typed_all/l{n}"), "echo-bytes", large);
                        let reply = reply.unwrap();
                        codes.push((reply.status, reply.body["code"].to_string()));
                    }
                    codes
                })
            })
            .collect();
        for n in 0..200 {
            let good = program.call(&format!("typed_all/{n}"), "echo-u8", &json!([7])).unwrap();
            assert_eq!(good.status, 200, "{}", good.body);
        }
        ended.store(true, Ordering::Relaxed);
        let codes: Vec<_> = flood.into_iter().flat_map(|one| one.join().unwrap()).collect();
        let full = codes.iter().filter(|(_, code)| code.contains("overloaded")).count();
        let served = codes.iter().filter(|(status, _)| *status == 200).count();
        assert!(full > 0 && served > 0, "two have no room at once, one has: {codes:?}");
    });
    program.stop().unwrap();
}
