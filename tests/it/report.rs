//! The page of the bench's figures: it shows what was reached, hides nothing, and needs no network.

// Benches have no tests of their own, so that the page is tested from here.
#[allow(unreachable_pub, reason = "the bench's file, used as it is")]
#[path = "../bench/report.rs"]
mod page;

use serde_json::json;

fn page_of(figures: &serde_json::Value) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("summary.json"), figures.to_string()).unwrap();
    page::write(dir.path()).unwrap();
    std::fs::read_to_string(dir.path().join("report.html")).unwrap()
}

/// The row of a figure.
fn row<'p>(page: &'p str, name: &str) -> &'p str {
    page.lines().find(|line| line.contains(&format!("<td>{name}</td>"))).unwrap()
}

#[test]
fn a_figure_is_met_missed_or_not_measured() {
    let page = page_of(&json!({
        "http.write_over_workerd": 4.0, "http.read_over_workerd": 1.99,
        "wake.cold_over_workerd": 0.4, "http.write_p99_over_workerd": 0.21, "disk.other": 7.5,
    }));
    for (name, verdict) in [
        ("http.write_over_workerd", "yes"),
        ("http.read_over_workerd", "no"),
        ("wake.cold_over_workerd", "yes"),
        ("http.write_p99_over_workerd", "no"),
        ("http.write_over_rivet", "not measured"),
    ] {
        let row = row(&page, name);
        assert!(row.contains(&format!(">{verdict}</td></tr>")), "{row}");
        assert_eq!(row.contains("<svg"), verdict != "not measured", "{row}");
    }
    assert!(page.contains("2 of 4 reach"), "{page}");
    assert!(page.contains("63 were not measured"), "{page}");
    assert!(row(&page, "disk.other").contains("7.5"));
}

#[test]
fn the_page_brings_everything_along() {
    let page = page_of(&json!({ "<script>": 1 }));
    for outside in ["http://", "https://", "src=", "href=", "@import", "url(", "<script"] {
        assert!(!page.contains(outside), "{outside} in {page}");
    }
}

#[test]
fn both_files_are_in_it_and_a_damaged_one_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("summary.json"), "{\"host.idle_rss_mib\": 20}").unwrap();
    std::fs::write(dir.path().join("peers.json"), "{\"http.write_over_rivet\": 30}").unwrap();
    page::write(dir.path()).unwrap();
    let page = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.contains("2 of 2 reach"), "{page}");
    std::fs::write(dir.path().join("peers.json"), "{").unwrap();
    assert!(page::write(dir.path()).is_err());
}
