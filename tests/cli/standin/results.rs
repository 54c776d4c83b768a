//! What a run of tests tells on Windows is what it tells on Linux.

use quick_junit::{NonSuccessKind, Report, TestCaseStatus};
use serde_json::Value;
use support::images;
use support::mercurial::READY_HG;
use support::tool::Done;

use super::{READY, Standins, small};

/// Tests with every outcome that a program can give by itself.
const TESTS: [(&str, &str); 5] = [
    ("test-broken.py", "import sys\nprint('the reason')\nsys.exit(1)\n"),
    ("test-differs.py", "print('one')\n"),
    ("test-differs.py.out", "two\n"),
    ("test-fine.py", "print('', end='')\n"),
    ("test-skipped.py", "import sys\nprint('skipped: for a reason')\nsys.exit(80)\n"),
];

/// A text without what a system has of its own: its folders, and how its lines end.
fn plain(text: &str) -> String {
    text.replace('\r', "").replace("C:/hgdev/", "/").replace("/hgwork/", "/")
}

/// What the tests came to, without times and without where they ran.
fn told(results: &Value) -> Value {
    let mut told = Vec::new();
    for test in results["tests"].as_array().unwrap() {
        let mut test = test.as_object().unwrap().clone();
        for field in ["output", "detail"] {
            if let Some(Value::String(text)) = test.get_mut(field) {
                *text = plain(text);
            }
        }
        assert!(test.remove("seconds").is_some_and(|took| took.is_number()), "{test:?}");
        ["began_at", "attempts", "machine", "output_file"].iter().for_each(|field| drop(test.remove(*field)));
        told.push(Value::Object(test));
    }
    serde_json::json!([results["verdict"], results["counts"], told])
}

/// What a file of JUnit says of each test: its name, and how it ended.
fn cases(text: &str) -> Vec<(String, String)> {
    let report = Report::deserialize_from_str(text).unwrap();
    let cases = report.test_suites.iter().flat_map(|suite| &suite.test_cases);
    let status = |status: &TestCaseStatus| match status {
        TestCaseStatus::Success { .. } => "success".to_owned(),
        TestCaseStatus::NonSuccess { kind, message, ty, description, .. } => {
            let kind = if *kind == NonSuccessKind::Failure { "failure" } else { "error" };
            let text = [message, ty, description].map(|part| part.as_ref().map_or("", |part| part.as_str())).map(plain);
            format!("{kind} {text:?}")
        }
        TestCaseStatus::Skipped { message, .. } => format!("skipped {:?}", message.as_ref().map(|text| text.as_str())),
    };
    cases.map(|case| (case.name.as_str().to_owned(), status(&case.status))).collect()
}

#[test]
fn the_same_tests_give_the_same_results_json_and_junit_as_on_linux() {
    let Some(place) = Standins::new() else { return };
    images::whole();
    let checkout = small(&place, &TESTS);
    let names = ["test-broken.py", "test-differs.py", "test-fine.py", "test-skipped.py"];
    let run = |command: &str, ready: &[&str]| -> (Done, String) {
        let junit = place.path().join(format!("{command}.xml"));
        let words = [command, "--json", "--junit", junit.to_str().unwrap(), "--source", checkout.to_str().unwrap()];
        let done = place.run(&[&words[..], &names, ready].concat()).expect(1);
        (done, std::fs::read_to_string(junit).unwrap())
    };
    let (linux, linux_cases) = run("run-tests-linux", &READY_HG);
    let (windows, windows_cases) = run("run-tests-windows", &READY);
    assert_eq!(told(&windows.json()), told(&linux.json()));
    let counts = &windows.json()["counts"];
    assert_eq!([&counts["passed"], &counts["failed"], &counts["skipped"]], [1, 2, 1], "{counts}");
    let keys = |results: &Value| results.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&windows.json()), keys(&linux.json()));
    assert_eq!(cases(&windows_cases), cases(&linux_cases));
    assert_eq!(cases(&windows_cases).len(), names.len(), "{windows_cases}");
}

#[test]
fn a_run_is_split_over_two_standins() {
    let Some(place) = Standins::new() else { return };
    let tests: Vec<(String, &str)> =
        (0..4).map(|at| (format!("test-{at}.py"), "import time; time.sleep(2)\n")).collect();
    let tests: Vec<(&str, &str)> = tests.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let checkout = small(&place, &tests);
    let words = ["run-tests-windows", "--json", "--shards", "2", "--source", checkout.to_str().unwrap()];
    let done = place.run(&[&words[..], &READY, &["-j1"]].concat()).expect(0).tells(&["Nothing is left behind"]);
    let results = done.json();
    let machines = results["machines"].as_array().unwrap();
    assert_eq!((&results["counts"]["passed"], machines.len()), (&4.into(), 2), "{results}");
    let on = |test: &Value| test["machine"].as_str().unwrap().to_owned();
    let used: std::collections::BTreeSet<String> = results["tests"].as_array().unwrap().iter().map(on).collect();
    assert_eq!(used.len(), 2, "{results}");
}

#[test]
fn a_python_that_a_machine_lacks_is_named() {
    let Some(place) = Standins::new() else { return };
    let checkout = small(&place, &[("test-fine.py", "")]);
    for (words, folder) in [(["--python-version", "3.20"], "python320-x64"), (["--arch", "x86"], "python313-x86")] {
        let source = ["run-tests-windows", "--source", checkout.to_str().unwrap(), "test-fine.py"];
        let done = place.run(&[&source[..], &words, &READY].concat()).expect(2);
        let lacks =
            format!("this machine has no C:/hgdev/{folder}/python.exe; of Pythons it has in C:/hgdev: python310-x64, ");
        done.tells(&[&lacks, "Nothing is left behind"]);
    }
}
