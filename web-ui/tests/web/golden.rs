//! `/metrics` is what the golden file says, letter for letter. After a wanted change: run with `EMPERY_WRITE_GOLDEN=1`.

use crate::called::Called;

#[tokio::test]
async fn the_metrics_are_those_of_the_golden_file() {
    let answer = Called::tcp().api("GET", "/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/golden-files/metrics.txt");
    if std::env::var_os("EMPERY_WRITE_GOLDEN").is_some() {
        std::fs::write(&golden, &answer.text).unwrap();
    }
    assert_eq!(answer.text, std::fs::read_to_string(golden).unwrap());
}

#[tokio::test]
async fn every_line_of_the_metrics_is_a_comment_or_a_sample() {
    let text = Called::tcp().api("GET", "/metrics").await.text;
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.starts_with("empery_") && (series.ends_with('}') || !series.contains('{')), "{line}");
    }
    assert!(text.contains(r#"vassal="<script>alert(1)<%>\"'&.ini""#), "quotes in names are escaped");
}
