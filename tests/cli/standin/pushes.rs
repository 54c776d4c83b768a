//! The source reaches the Mercurial of a Windows machine, and no machine but the one whose host key is known.

use support::door::Door;
use support::mercurial::hg;
use support::tool::Done;

use super::foreign::Foreign;
use super::{READY, Standins, small};

/// How many files are pushed.
const FILES: usize = 200;

#[test]
fn a_push_lands_once_and_another_host_key_is_refused() {
    let Some(place) = Standins::new() else { return };
    let (right, wrong) = (Foreign::up(&place), Foreign::up(&place));
    let door = Door::to(&right.socket());
    right.know(&place, &door);
    let checkout = small(&place, &[("test-fine.py", "")]);
    std::fs::create_dir(checkout.join("many")).unwrap();
    for number in 0..FILES {
        std::fs::write(checkout.join(format!("many/{number}.txt")), format!("{number}\n")).unwrap();
    }
    hg(&checkout, &["commit", "--quiet", "--addremove", "--message", "many files"]);
    let node = hg(&checkout, &["log", "--rev", ".", "--template", "{node}"]);
    let foreign = right.words(&door);
    let job = ["run-tests-windows", "--python-version", "3.13", "--source", checkout.to_str().unwrap(), "test-fine.py"];
    let foreign: Vec<&str> = foreign.iter().map(String::as_str).collect();
    let words = [&foreign[..], &job, &READY].concat();

    place.run(&words).expect(0);
    assert_eq!(right.hg(&place, &["log", "--rev", ".", "--template", "{node}"]), node);
    assert_eq!(right.hg(&place, &["status", "--modified", "--added", "--removed", "--deleted"]), "");
    let sum = "import glob; names = glob.glob('C:/hgdev/src/many/*.txt'); print(len(names), sum(int(open(name).read()) for name in names))";
    let told = place.exec(&right.id, &["python", "-c", sum]).expect(0).text();
    assert_eq!(told.trim(), format!("{FILES} {}", (0..FILES).sum::<usize>()));
    assert!(!place.steps().contains("no changes found"), "{}", place.steps());
    place.run(&words).expect(0);
    assert!(place.steps().contains("no changes found"), "{}", place.steps());

    // Another machine answers from the beginning, and one that comes between the first connection and the push.
    let refused = |done: Done| {
        done.expect(3).tells(&["host key mismatch", "Nothing was sent", "ssh-keygen -R", "Nothing is left behind"])
    };
    door.lead_to(&wrong.socket());
    refused(place.run(&words));
    wrong.assert_untouched(&place);
    door.lead_to(&right.socket());
    let running = place.start(&words);
    running.wait_for("Pushing");
    door.lead_to(&wrong.socket());
    refused(running.end());
    wrong.assert_untouched(&place);
    for machine in [right, wrong] {
        place.run(&["machine", "down", &machine.id]).expect(0);
    }
}
