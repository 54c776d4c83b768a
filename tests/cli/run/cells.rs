//! A command under each choice of a matrix, and on several machines.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use super::Project;
use crate::cli::shards::end_machine;

/// The cells of a run's JSON: name, exit code.
fn codes(run: &Value) -> Vec<(String, i64)> {
    let cells = run["cells"].as_array().unwrap().iter();
    cells.map(|cell| (cell["cell"].as_str().unwrap().to_owned(), cell["code"].as_i64().unwrap())).collect()
}

#[test]
fn each_cell_has_its_choice_its_output_and_a_part_in_one_verdict() {
    let project = Project::with(&[("check.sh", "echo \"$A from $B\"; echo x >out-$A.txt; [ $A != two ] || exit 7\n")]);
    let words = ["--matrix", "env.A=one,two", "--env", "B=here", "--artifact", "out-*.txt", "--", "sh", "check.sh"];
    let done = project.run(&words).expect(7);
    let mut lines: Vec<String> = done.text().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["one | one from here", "two | two from here"]);
    done.tells(&["CELL", "succeeded", "exit status 7", "Succeeded in 1 of 2 cells, exit code 7", "seen gone"]);
    let folder = project.place.state.join("runs").join(project.place.latest());
    for (cell, text) in [("001-one", "one"), ("002-two", "two")] {
        let cell = folder.join("cells").join(cell);
        assert_eq!(fs::read_to_string(cell.join("output.log")).unwrap(), format!("{text} from here\n"));
        assert!(cell.join(format!("artifacts/out-{text}.txt")).is_file());
    }
    let logs = project.place.run(&["runs", "logs"]).expect(0);
    assert_eq!(logs.text(), "one from here\ntwo from here\n");
    let kept: Value = serde_json::from_slice(&fs::read(folder.join("command.json")).unwrap()).unwrap();
    assert_eq!(codes(&kept), [("one".to_owned(), 0), ("two".to_owned(), 7)]);
    let shown = project.place.run(&["runs", "show"]).expect(0).text();
    assert!(shown.contains("\nCELL  RESULT") && shown.contains("\ntwo   exit status 7"), "{shown}");
    assert_eq!(codes(&project.place.json(&["runs", "show", "--json"])), codes(&kept));
    project.place.assert_clean();
}

#[test]
fn one_lost_cell_is_never_a_success_and_others_go_on() {
    let project = Project::with(&[("a", "")]);
    let line = "echo $A $HOSTNAME; [ $A = well ] || sleep 300; sleep 1";
    let running = project.start(&["--json", "--matrix", "env.A=well,lost", "--shell", line]);
    running.wait_for("lost hg-");
    let said = running.said();
    let machine = said.split("lost hg-").nth(1).unwrap().split_whitespace().next().unwrap();
    end_machine(&project.place.state, &format!("hg-{machine}"));
    let run = running.end().expect(125).json();
    assert_eq!(codes(&run), [("well".to_owned(), 0), ("lost".to_owned(), 125)], "{run}");
    let lacking = ["--machines", "2", "--artifact", "none", "--", "true"];
    project.run(&lacking).expect(125).tells(&["files are missing", "nothing matches: none"]);
    project.place.run(&["audit", "--fix"]).expect(0);
    project.place.assert_clean();
}

#[test]
fn several_machines_run_the_same_and_wrong_choices_are_refused_before_anything_is_made() {
    let project = Project::with(&[("a", "")]);
    let run = project.run(&["--json", "--machines", "3", "--", "true"]).expect(0).json();
    let names: Vec<String> = codes(&run).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1", "2", "3"]);
    let machines: std::collections::BTreeSet<&str> =
        run["cells"].as_array().unwrap().iter().map(|cell| cell["machine"].as_str().unwrap()).collect();
    assert_eq!(machines.len(), 3);
    let refused: &[(&[&str], &str)] = &[
        (&["--matrix", "env.1A=x,y", "--", "true"], "is not the name of a variable"),
        (&["--matrix", "envA=x,y", "--", "true"], "is not an axis of this command"),
        (&["--matrix", "env.A=x,y", "--env", "A=z", "--", "true"], "choose the same"),
        (&["--matrix", "image=plain,linux-dev", "--", "true"], "choose the same"),
        (&["--matrix", "distro=debian1,debian12", "--", "true"], "cell debian1"),
        (&["--machines", "0", "--", "true"], "0"),
        (&["--machines", "200", "--matrix", "env.A=x,y", "--", "true"], "more than 256 machines"),
        (&["--machines", "2", "--sync-back", "a", "--", "true"], "cannot be used with"),
    ];
    let before = project.place.json(&["runs", "list", "--json"]);
    let planned = project.run(&["--dry-run", "--json", "--machines", "2", "--", "true"]).expect(0).json();
    assert_eq!(planned["machines"].as_array().unwrap().len(), 2, "{planned}");
    assert_eq!((&planned["machines"][0]["missing_layers"], &planned["machines"][0]["cell"]), (&0.into(), &"1".into()));
    assert!(planned["source"].as_str().unwrap().starts_with("1 file, 0 B: the folder /"), "{planned}");
    let planned = project.run(&["--dry-run", "--setup", "true", "--", "true"]).expect(0).text();
    assert!(planned.contains("Would make 1 machine of provider `local` from linux-dev-debian12"), "{planned}");
    assert!(planned.contains("of which 1 of ") && planned.contains("Would bring there 1 file"), "{planned}");
    let planned = project.place.run(&["machine", "up", "--dry-run"]).expect(0).text();
    assert!(planned.contains("which is there; for at most 2h"), "{planned}");
    for (words, told) in refused {
        project.run(words).expect(125).tells(&[told]);
    }
    assert_eq!(project.place.json(&["runs", "list", "--json"]), before, "nothing was begun");
    project.place.assert_clean();
}

#[test]
fn cells_that_are_left_are_followed_by_whoever_attaches() {
    let project = Project::with(&[("a", "")]);
    let line = "for i in $(seq 20); do echo $A $i; sleep 0.1; done; [ $A = x ] || exit 3";
    let words = ["--detach", "--matrix", "env.A=x,y", "--shell", line];
    let id = project.run(&words).expect(0).text().trim().to_owned();
    assert_eq!(project.place.json(&["machine", "list", "--json"]).as_array().unwrap().len(), 2);
    let first = project.place.start(&["runs", "attach", &id]);
    first.wait_for("x 5");
    first.signal(Signal::KILL);
    drop(first.end());
    project.place.run(&["runs", "attach", &id]).expect(3).tells(&["Succeeded in 1 of 2 cells", "seen gone"]);
    let all = |name: &str| (1..=20).map(|i| format!("{name} {i}\n")).collect::<String>();
    let logs = project.place.run(&["runs", "logs", &id]).expect(0).text();
    assert_eq!(logs, all("x") + &all("y"), "each byte once");
    project.place.assert_certified(&id);
    // The same, ended from elsewhere.
    let id = project.run(&["--detach", "--machines", "2", "--", "sleep", "300"]).expect(0).text().trim().to_owned();
    let planned = project.place.run(&["runs", "cancel", "--dry-run", &id]).expect(0).text();
    assert!(planned.contains("on 2 machines"), "{planned}");
    project.place.run(&["runs", "cancel", &id]).expect(0);
    let shown = project.place.run(&["runs", "show", &id]).expect(0).text();
    assert!(
        shown.contains("Cancelled when 0 of 2 cells had succeeded") && shown.matches("  cancelled").count() == 2,
        "{shown}"
    );
    assert!(!shown.contains("lost"), "{shown}");
    project.place.assert_certified(&id);
    project.place.assert_clean();
}
