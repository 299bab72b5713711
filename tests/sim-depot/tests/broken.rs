//! Each rule is switched off in turn, and the simulation must miss it.

use stockade_depot::broken::Variant;
use stockade_sim_depot::{run, seeds};

#[test]
fn every_rule_that_is_switched_off_is_missed() {
    seeds::check_rules(run, &Variant::ALL, 400);
}
