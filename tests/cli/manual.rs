//! The manual pages.

use std::path::Path;
use std::process::Command;

use support::tool::{Place, skip};

#[test]
fn every_command_has_a_page_that_is_well_formed() {
    let place = Place::new();
    let folder = place.path().join("man/man1");
    place.run(&["man", folder.to_str().unwrap()]).expect(0).tells(&["pages"]);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let whole = read("automation.1");
    for part in [".SH NAME", "\\-\\-state\\-path", "automation\\-run\\-tests\\-linux(1)", ".SH DESCRIPTION"] {
        assert!(whole.contains(part), "{part}: {whole}");
    }
    let show = read("automation-runs-show.1");
    for part in [".SH EXAMPLES", "automation runs show latest", "\\-\\-failed", ".SH \"SEE ALSO\""] {
        assert!(show.contains(part), "{part}: {show}");
    }
    assert!(!show.contains("state\\-path <"), "{show}");
    let exec = read("automation-machine-exec.1");
    assert!(exec.contains(".SH NOTES") && exec.contains("automation machine exec"), "{exec}");
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() > 40 && names.iter().all(|name| !name.contains("internal") && name != "automation-man.1"));
    assert!(!place.run(&["--help"]).expect(0).text().contains("  man "), "it is for packagers");
    assert!(!place.state.exists());
    let again = place.path().join("again");
    place.run(&["man", again.to_str().unwrap()]).expect(0);
    assert_eq!(std::fs::read_to_string(again.join("automation.1")).unwrap(), whole, "the same source, the same page");
    for (program, words) in
        [("mandoc", &["-T", "lint", "-W", "error"][..]), ("groff", &["-k", "-man", "-ww", "-z", "-Tutf8"])]
    {
        if !Path::new("/usr/bin").join(program).exists() {
            skip(&format!("`{program}` is not installed"));
            continue;
        }
        let done = Command::new(program).args(words).args(&names).current_dir(&folder).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success() && said.is_empty(), "{program}: {}", String::from_utf8_lossy(&said));
    }
}
