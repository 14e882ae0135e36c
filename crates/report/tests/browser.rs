//! The page in a real browser: headless Chromium opens it, a script inside clicks and looks, and says what is wrong.
//!
//! Without Chromium the test says so on stderr and passes, unless `LISSOM_REQUIRE_CHROMIUM=1` is set, as in CI.
//! `LISSOM_CHROMIUM` names another program; `LISSOM_SCREENSHOTS` a folder for pictures of the pages.

mod sample;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lissom_report::Report;

const SELFTEST: &str = include_str!("selftest.js");
const CANDIDATES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const TIMEOUT: Duration = Duration::from_secs(120);

/// The browser, or `None` after saying loudly that there is none.
fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("LISSOM_CHROMIUM") {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let found = folders.iter().flat_map(|folder| CANDIDATES.map(|name| folder.join(name))).find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("LISSOM_REQUIRE_CHROMIUM").is_none_or(|value| value != "1"),
            "LISSOM_REQUIRE_CHROMIUM is 1, but none of {CANDIDATES:?} is on the PATH"
        );
        // Written past the test harness, which would swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "\nSKIPPED: the report was NOT checked in a browser: none of {CANDIDATES:?} is on the PATH\n"
        );
    }
    found
}

/// Runs the browser on `page` and gives what it writes to stdout and stderr.
fn browse(browser: &Path, folder: &Path, page: &Path, arguments: &[String]) -> (String, String) {
    let (out, err) = (folder.join("stdout"), folder.join("stderr"));
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            "--hide-scrollbars",
            "--enable-logging=stderr",
        ])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .stdout(Stdio::from(File::create(&out).unwrap()))
        .stderr(Stdio::from(File::create(&err).unwrap()))
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > TIMEOUT {
            let _ = child.kill();
            panic!("the browser did not end within {TIMEOUT:?}: {}", fs::read_to_string(&err).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    (fs::read_to_string(out).unwrap(), fs::read_to_string(err).unwrap_or_default())
}

/// Puts the script of the test into the page, under the page's own nonce.
fn with_selftest(html: &str) -> String {
    let nonce = html.split("<script nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let early = "window.seen = [];\
        addEventListener('error', (event) => window.seen.push('error: ' + event.message));\
        addEventListener('unhandledrejection', (event) => window.seen.push('rejection: ' + event.reason));\
        addEventListener('securitypolicyviolation', (event) => window.seen.push('blocked: ' + event.violatedDirective + ' ' + event.blockedURI));";
    let script = |code: &str| format!("<script nonce=\"{nonce}\">{code}</script>");
    let (head, body) = html.split_once("<title>").unwrap();
    let (body, end) = body.rsplit_once("</body>").unwrap();
    format!("{head}{}<title>{body}{}</body>{end}", script(early), script(SELFTEST))
}

fn check(name: &str, report: &Report, arguments: &[&str]) {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let html = report.to_html().unwrap();
    let page = folder.path().join("page.html");
    fs::write(&page, with_selftest(&html)).unwrap();
    let mut all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    all.push("--dump-dom".to_owned());
    let (dom, log) = browse(&browser, folder.path(), &page, &all);
    let result = dom.split("<pre id=\"selftest-result\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let result = result.unwrap_or_else(|| panic!("{name}: the page did not finish: {log}"));
    assert!(result.starts_with("ok, "), "{name}:\n{result}");
    let console: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{name}: the console says {console:?}");

    if let Some(target) = std::env::var_os("LISSOM_SCREENSHOTS") {
        let plain = folder.path().join("plain.html");
        fs::write(&plain, html).unwrap();
        let picture = PathBuf::from(target).join(name).with_extension("png");
        all.pop();
        all.push(format!("--screenshot={}", picture.display()));
        browse(&browser, folder.path(), &plain, &all);
        assert!(picture.is_file(), "{name}: no picture was taken");
    }
}

#[test]
fn the_page_works_in_a_light_browser() {
    check("light", &sample::example(), &["--window-size=1280,7800"]);
}

#[test]
fn the_page_works_in_a_dark_browser() {
    check("dark", &sample::example(), &["--window-size=1280,7800", "--blink-settings=preferredColorScheme=0"]);
}

#[test]
fn the_page_works_on_a_narrow_screen() {
    check("narrow", &sample::example(), &["--window-size=400,11000"]);
}

#[test]
fn hostile_names_do_nothing() {
    check("hostile", &sample::hostile(), &["--window-size=1280,7800"]);
}

#[test]
fn embeddings_and_empty_reports_work() {
    check("embedding", &sample::embedding(), &["--window-size=1280,1400"]);
    check("empty", &Report::new("nothing", lissom_report::Provenance::default()), &["--window-size=1280,900"]);
}
