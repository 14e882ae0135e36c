//! The report as data and as a page, without a browser.

mod sample;

use lissom_report::{Budget, Goal, Provenance, Report, ReportError, SCHEMA_VERSION, Unit};
use proptest::prelude::*;

/// The values of an attribute everywhere in the page.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    html.match_indices(&start).filter_map(|(at, _)| html[at + start.len()..].split('"').next()).collect()
}

#[test]
fn json_holds_the_whole_report() {
    for report in [sample::example(), sample::embedding()] {
        let json = report.to_json().unwrap();
        assert_eq!(Report::from_json(&json).unwrap(), report);
        assert!(json.starts_with("{\n  \"schema_version\": 1,"), "{}", &json[..60]);
    }
}

#[test]
fn numbers_that_are_none_survive_json_as_missing() {
    let json = sample::hostile().to_json().unwrap();
    let back = Report::from_json(&json).unwrap();
    assert_eq!(back.layers[0].sparsity, None);
    assert_eq!(back.original.as_ref().unwrap().effective_bits, None);
    assert!(back.histograms[0].low.is_nan() && back.budgets[0].target.is_nan());
    assert_eq!(back.to_json().unwrap(), json);
}

#[test]
fn the_schema_page_names_every_field() {
    fn keys(value: &serde_json::Value, out: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| {
                out.push(key.clone());
                keys(value, out);
            }),
            serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, out)),
            _ => {}
        }
    }
    let page = include_str!("../SCHEMA.md");
    let mut json = serde_json::to_value(sample::example()).unwrap();
    // The judgement and comparison are documented with their types in lissom-evaluate.
    for card in ["original", "compressed"] {
        json[card]["judgement"] = serde_json::Value::Null;
    }
    json["comparison"] = serde_json::Value::Null;
    for part in ["judgement", "result", "comparison"] {
        json["pairs"][0][part] = serde_json::Value::Null;
    }
    json["divergence"]["layer"] = serde_json::Value::Null;
    let mut names = Vec::new();
    keys(&json, &mut names);
    assert!(names.len() > 100);
    for name in names {
        assert!(page.contains(&format!("`{name}`")), "SCHEMA.md does not name `{name}`");
    }
}

#[test]
fn other_json_and_newer_reports_are_typed_errors() {
    assert!(matches!(Report::from_json("{}"), Err(ReportError::Json(_))));
    assert!(matches!(Report::from_json("[1"), Err(ReportError::Json(_))));
    let newer = r#"{"schema_version": 99, "title": "from the future"}"#;
    let error = Report::from_json(newer).unwrap_err();
    assert!(matches!(error, ReportError::Version { found: 99, newest: SCHEMA_VERSION }));
    assert!(!error.hint().is_empty());
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    assert_eq!(sample::example().to_html().unwrap(), sample::example().to_html().unwrap());
    assert_eq!(sample::example().to_json().unwrap(), sample::example().to_json().unwrap());
}

#[test]
fn a_full_page_has_every_section_and_stays_small() {
    let html = sample::example().to_html().unwrap();
    for id in [
        "budgets",
        "cards",
        "notices",
        "classes",
        "confusion",
        "calibration",
        "agreement",
        "steps",
        "learning",
        "layers",
        "sensitivity",
        "pareto",
        "weights",
        "missing",
        "provenance",
    ] {
        assert!(html.contains(&format!("<section id=\"{id}\"")), "no section {id}");
        assert!(html.contains(&format!("<a href=\"#{id}\">")), "no link to {id}");
    }
    assert!(html.len() < 1_000_000, "{} bytes", html.len());
    assert!(html.contains("lissom compress resnet20.onnx"));
    assert!(html.contains("2 of 4 budgets not met: max-drop, max-class-drop"));
    assert!(html.contains("missed by"));
    assert!(html.contains("Peak memory of the compressed network"), "an absent number is listed");
    let body = html.split("<script").next().unwrap();
    assert!(!body.contains("NaN") && !body.contains(">inf"));
}

#[test]
fn nothing_outside_the_page_is_referenced() {
    for report in [sample::example(), sample::hostile(), sample::embedding()] {
        let html = report.to_html().unwrap();
        for link in attributes(&html, "href") {
            assert!(link.starts_with('#') || link == "data:,", "{link}");
        }
        assert_eq!(attributes(&html, "src"), [""; 0]);
        assert!(!html.contains("url(") && !html.contains("@import"));
        assert!(html.contains("default-src 'none'"));
    }
}

#[test]
fn hostile_names_stay_text() {
    let report = sample::hostile();
    let html = report.to_html().unwrap();
    assert_eq!(html.matches("<script").count(), 1, "only the page's own script");
    assert!(!html.contains("<img"));
    assert!(html.contains("&lt;script&gt;window.pwned=1&lt;/script&gt;") || html.contains("&#60;script&#62;"));
    assert!(html.contains("not measured"));
    assert!(html.contains("The first 60 of 91 weights are drawn"), "what is cut is said");
    assert!(html.contains("The 40 most sensitive of 70 layers are shown"));
    assert!(html.len() < 1_000_000, "{} bytes", html.len());
}

#[test]
fn an_empty_report_lists_what_is_missing_and_shows_no_zero() {
    let html = Report::new("nothing", Provenance::default()).to_html().unwrap();
    assert_eq!(html.matches("<section").count(), 2, "only what is missing and how to repeat");
    for what in ["Budgets", "Layers", "Steps of the recipe", "Sensitivity of each layer"] {
        assert!(html.contains(&format!("<dt>{what}</dt>")), "{what}");
    }
    assert!(html.contains("not recorded"));
}

#[test]
fn a_column_nobody_measured_is_left_out_and_listed() {
    let mut report = sample::example();
    for layer in &mut report.layers {
        layer.macs = None;
    }
    let html = report.to_html().unwrap();
    assert!(html.contains("<dt>Layers: macs</dt>"));
    let layers = html.split("id=\"layer-table\"").nth(1).unwrap();
    assert!(!layers.split("</thead>").next().unwrap().contains("MACs"));
}

#[test]
fn the_caller_explains_better_than_the_page() {
    let mut report = Report::new("x", Provenance::default());
    report.not_measured.push(lissom_report::NotMeasured { what: "layers".into(), why: "the run was a dry run".into() });
    let html = report.to_html().unwrap();
    assert!(html.contains("the run was a dry run") && !html.contains("no layer was measured"));
}

#[test]
fn embeddings_show_their_rank_correlation() {
    let html = sample::embedding().to_html().unwrap();
    assert!(html.contains("<h3>Spearman</h3>") && !html.contains("Top1"));
    assert!(html.contains("<p class=\"verdict\">Spearman 0."), "the verdict names the metric");
    assert!(!html.contains("id=\"confusion\""));
}

proptest! {
    #[test]
    fn a_budget_is_met_exactly_when_it_is_not_missed(target in -9.0f64..9.0, actual in -9.0f64..9.0, at_most: bool) {
        let goal = if at_most { Goal::AtMost } else { Goal::AtLeast };
        let budget = Budget::judge("b", goal, target, Some(actual), Unit::Number);
        prop_assert_eq!(budget.is_met, Some(budget.missed_by.is_none()));
        prop_assert_eq!(Budget::judge("b", goal, target, Some(target), Unit::Number).is_met, Some(true));
        if let Some(by) = budget.missed_by {
            prop_assert!((by - (actual - target).abs()).abs() < 1e-12);
        }
    }

    /// Whatever text comes in, no tag of it comes out.
    #[test]
    fn any_text_is_escaped(text in any::<String>()) {
        let mut report = Report::new(&text, Provenance { command: text.clone(), ..Provenance::default() });
        report.layers = vec![lissom_report::Layer { name: format!("<b id=\"x\">{text}"), ..Default::default() }];
        let html = report.to_html().unwrap();
        prop_assert_eq!(html.matches("<script").count(), 1);
        prop_assert!(!html.contains("<b id"));
    }
}
