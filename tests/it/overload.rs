//! A flood of one kind's calls takes neither other kinds' room nor the operators'.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use stockade_tests::guest;
use stockade_tests::program::Program;

#[test]
fn a_flood_of_one_kind_is_refused_to_itself_and_an_operator_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("stockade.toml");
    std::fs::write(&config, "[host]\nrequests_max = 24\n[limits]\ncall_time_ms = 5000\n").unwrap();
    let flags = ["--config", config.to_str().unwrap()];
    let program = Program::serve_with(&dir.path().join("data"), &flags).unwrap();
    for guest in [guest::HOSTILE_LOOP, guest::TYPED_ALL] {
        program.deploy(guest.name, &guest.wasm().unwrap()).unwrap();
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
