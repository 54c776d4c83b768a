mod samples;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use self::samples::{all, at, machine, took, works};
use super::*;
use crate::work::{Moved, Work};

fn line(event: &Event) -> String {
    serde_json::to_string(event).unwrap()
}

#[test]
fn every_kind_is_written_and_read_as_it_was() {
    for event in all() {
        let written = line(&event);
        assert_eq!(serde_json::from_str::<Event>(&written).unwrap(), event, "{written}");
    }
}

/// The allowed values of a tag, taken from the error for a wrong one: the derived error lists every variant.
fn variants<T: serde::de::DeserializeOwned>(unknown: serde_json::Value) -> BTreeSet<String> {
    let Err(error) = serde_json::from_value::<T>(unknown) else { panic!("that is none") };
    let text = error.to_string();
    let (_, expected) = text.split_once("expected").unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_kind_is_among_those_that_are_tried() {
    let written: Vec<serde_json::Value> = all().iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    let tried = |key: &str, family: &str| -> BTreeSet<String> {
        let of = written.iter().filter(|event| family.is_empty() || event["family"] == family);
        of.filter_map(|event| event.pointer(key)?.as_str().map(str::to_owned)).collect()
    };
    let families = variants::<EventKind>(json!({"family": "?"}));
    assert_eq!(tried("/family", ""), families);
    for family in &families {
        assert_eq!(tried("/kind", family), variants::<EventKind>(json!({"family": family, "kind": "?"})), "{family}");
    }
    assert_eq!(tried("/work/doing", "step"), variants::<Work>(json!({"doing": "?"})));
}

#[test]
fn an_event_is_one_flat_object() {
    let event = Event {
        at: at(),
        subject: Some(Subject::Machine(machine())),
        cell: None,
        kind: EventKind::Machine(MachineEvent::ConnectedAgain { after: Duration::from_millis(2500) }),
    };
    assert_eq!(
        line(&event),
        r#"{"at":"2026-11-20T10:53:01.25Z","subject":{"machine":"hg-0123456789"},"family":"machine","kind":"connected_again","after":2.5}"#
    );
    let event = Event {
        at: at(),
        subject: None,
        cell: Some("debian12/tmpfs".into()),
        kind: StepEvent::Ended { work: works().remove(0), took: took(), moved: None }.into(),
    };
    assert_eq!(
        line(&event),
        r#"{"at":"2026-11-20T10:53:01.25Z","in_cell":"debian12/tmpfs","family":"step","kind":"ended","work":{"doing":"booting","machine":"hg-0123456789","image":"linux-dev-debian12"},"took":65.5}"#
    );
}

#[test]
fn what_a_newer_build_wrote_is_skipped_and_so_is_a_torn_line() {
    let known = Event { at: at(), subject: None, cell: None, kind: TestsEvent::NothingUncommitted.into() };
    let more = line(&known).replace("{\"at\"", "{\"colour\":\"blue\",\"at\"");
    let lines = [
        r#"{"at":"2026-11-20T10:53:01Z","family":"tests","kind":"shard_joined","machine":"hg-1"}"#.to_owned(),
        r#"{"at":"2026-11-20T10:53:01Z","family":"pool","kind":"machine_taken"}"#.to_owned(),
        r#"{"at":"2026-11-20T10:53:01Z","subject":{"job":"j-1"},"family":"tests","kind":"nothing_uncommitted"}"#
            .to_owned(),
        more,
        String::new(),
        line(&known),
        line(&known)[..40].to_owned(),
    ];
    let read: Vec<Event> = read(lines.join("\n").as_bytes()).collect();
    assert_eq!(read, [known.clone(), known]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "the words of all kinds are one text")]
fn the_words_of_every_kind() {
    let mut text = String::new();
    for event in all() {
        text.push_str(&format!("{:?}\n", event.words()));
    }
    insta::assert_snapshot!(text, @r#"
    Begin("Booting hg-0123456789 from linux-dev-debian12")
    Begin("Using hg-0123456789 (quiet-otter), which is up")
    Begin("Making the image built-once of hg-0123456789")
    Begin("Releasing hg-0123456789")
    Begin("Leaving plain-debian12 of hg-0123456789, which stays")
    Begin("linux-dev: packages (2/5)")
    Begin("linux-dev: 4 steps on one machine")
    Begin("Preparing /work (file system: ext4)")
    Begin("Waiting at most 1m 06s for run r-1 of ann@build1, which has held the machine since 2026-11-20T10:00:00Z")
    Begin("Waiting at most 1m 06s for a run of somebody else, who holds the machine")
    Begin("Holding the machine for this run")
    Begin("Pushing 0123 from /home/me/x")
    Begin("Checking out 0123")
    Begin("Applying uncommitted changes")
    Begin("Signing a.exe")
    Begin("Building 0123")
    Begin("Waiting for the build of 0123 by another machine")
    Begin("Restoring the build of 0123")
    Begin("Listing the tests")
    Begin("Packing the history of /home/me/x")
    Begin("Sending the files of /home/me/x")
    Begin("Setting up: apt-get install -y libfoo-dev")
    Begin("Running the tests")
    Begin("Running make check")
    Begin("Checking the machine's contract")
    Begin("Removing our files")
    Begin("Fetching artifacts")
    Begin("Bringing changed files back")
    Begin("Synchronising x to /x")
    Begin("Copying x to hg-1:/x")
    Begin("Running on 3 machines")
    Begin("Checking the files of 7.2.4 in dist")
    Begin("Looking at what is published of 7.2.4")
    Begin("Publishing 7.2.4: 36 uploads")
    Expect(65.5s)
    Detail("a line \u{1b}[0m")
    Detail("waiting for hg-0123456789, hg-0123456789, hg-0123456789 and 2 more")
    Progress("1.0 KiB of 4.0 KiB")
    Progress("1.0 KiB")
    End { text: "Listing the tests", took: 65.5s }
    End { text: "Fetched 3 artifacts, 2.0 KiB", took: 65.5s }
    Stop
    Stop
    Notice("hg-0123456789: 2.0000 USD an hour (c5.9xlarge on demand in us-west-2: compute 1.5000, volumes 0.2500, address 0.2500); at most 2.0000 USD until its expiry in 1h 00m")
    Warning("the cost is not known, so it is not held against the limit")
    Notice("hg-0123456789 cost 1.0000 USD in 30m 00s, at 2.0000 USD an hour (c5.9xlarge on demand in us-west-2: compute 1.5000, volumes 0.2500, address 0.2500)")
    Detail("cannot do `x`: no room")
    Warning("there is no spare capacity: hg-0123456789 has ordinary capacity")
    Notice("hg-0123456789 is of type `c5a.8xlarge`")
    Warning("Root on hg-0123456789 is root of this computer (`--privileged-machine`).")
    Warning("the login shell of user `hg` prints `welcome` before the output of a command, which damages file transfers that go through it")
    Notice("Letting 192.0.2.1/32, 192.0.2.2/32 reach hg-0123456789")
    Detail("cannot check whether this computer is still let in: cannot do `x`: no room")
    Detail("cannot check whether this computer is still let in: no answer in 1m 06s")
    Warning("the connection to hg-0123456789 was lost (end of file); what runs there goes on, connecting again")
    Notice("connected to hg-0123456789 again after 1m 06s")
    Warning("cannot do `x`: no room; trying again until there is room")
    Warning("cannot renew the lease of hg-0123456789, it will end by itself: cannot do `x`: no room")
    Warning("hg-0123456789 ends at 2026-11-20T10:53:01Z: Amazon takes the spot instance back")
    Warning("hg-0123456789 ends soon: Amazon takes the spot instance back")
    Warning("hg-0123456789 could not be told to live on and may end in 1m 06s: cannot do `x`: no room")
    Notice("Following run r-1 on hg-0123456789")
    Warning("cannot release hg-0123456789: cannot do `x`: no room")
    Warning("cannot tell what is left of hg-0123456789: cannot do `x`: no room")
    Notice("Another process makes the layer `0123456789ab`; waiting for it.")
    Notice("Another process brings in a tool; waiting for it.")
    Notice("There is an image 0123456789ab of ann, bob that is not used: `--trust-images-of OWNER` uses another person's.")
    Detail("waiting for the image `ami-1`")
    Detail("the image `ami-1` has been pending for 1m 06s")
    Notice("Starting from the published image `ami-1`, which is 13 days old")
    Detail("bringing in `mmdebstrap` (it is not installed on this host)")
    Detail("packages come from http://deb.example/debian")
    Warning("The price of `c5.9xlarge` is not known: cannot do `x`: no room.")
    Warning("the role `role` has policies that this tool does not need: a, b")
    Warning("the security group `group` lets in more than port 22, by rules that are not yours: tcp 80")
    Warning("`ec2` was not looked at: cannot do `x`: no room")
    Warning("expired machines of `ec2` were not ended: cannot do `x`: no room")
    Notice("Told hg-1 of nobody to end: it expired at 2026-11-20T10:53:01Z and still existed.")
    Warning("hg-1 of ann@build1 expired at 2026-11-20T10:53:01Z and cannot be ended: no")
    Notice("Distribution: debian12")
    Notice("Distribution: debian13, the first that can build 0123 (x; y)")
    Notice("Run 20261120-105301-abcdef tested 01; 23 is checked out now")
    Notice("There are no uncommitted changes: the committed source is used")
    Notice("3 tests for all machines")
    Notice("3 tests for all machines, about 1m 15s of work")
    Test("test-a.t ...")
    Test("part 2 has ended")
    Warning("its test runner began no test several times in a row: it gets no more tests")
    Test("test-a.t failed (1.2s): no")
    Test("test-b.t passed")
    Notice("The uncommitted changes of 2 files are not sent; `--working-copy` sends them")
    Warning("`test-a.t` is not muted any more: its entry expired on 2026-11-19 (issue 1)")
    Warning("cannot do `x`: no room; trying again")
    Notice("The build of 0123 that was kept is used again (2.0 KiB); only tests changed")
    Notice("The build of 0123 that was kept is used again (2.0 KiB)")
    Warning("the build of 0123 that was kept does not work; it is built again")
    Notice("The test runner builds 0123 in its own way: no compiler")
    Warning("the build of 0123 is not kept: cannot do `x`: no room")
    Notice("Testing revision 0123: 1 test expected")
    Warning("the run was lost; trying once more for the report")
    Outcome("one\ntwo")
    Outcome("hint: `automation runs logs r-1` shows all that was said; fix the source, or name a distribution that has what it needs (`--distro NAME`).")
    Outcome("error: cannot do `x`\n  1: no room")
    Notice("Built a.whl (2.0 KiB)")
    Notice("Built a.exe (2.0 KiB, signed)")
    Warning("inno-x86: cannot do `x`: no room; all that it said is in dist/logs/x.log")
    Warning("inno-x86: cannot do `x`: no room")
    Warning("inno-x86: cannot do `x`: no room; another machine builds it again")
    Outcome("1 of 2 packages built, 1 failed")
    Notice("Links that do not lead to a file were left: a, b, c, 1 more")
    Notice("`out` is a folder, and nothing of it was fetched: `out/**` means all files in it")
    Warning("links that lead out of the folder became notes of what they were: `a`, `b\\n`")
    Notice("What the machine remembered of `/var/tmp/x` was damaged: all of it was compared by content")
    Notice("Put right on the machine, where a command had put something else: `a`, `b\\n`")
    Notice("Replaced on the machine: the files of `/home/me/x`, and what was made there")
    Notice("Replaced on the machine: the files of another folder, and what was made there")
    Notice("Not brought back, removed by the command, and still here: a")
    Notice("Not brought back, links that lead out of the folder, or into what version control keeps: a")
    Notice("Not brought back, neither files, folders nor links: a")
    Notice("Published a.whl at https://index.example.org/")
    Notice("Removed 2 parts of files that were left half-way at ann@example.org:/release")
    Warning("security groups cannot be looked at: cannot do `x`: no room")
    Notice("Left alone: 2 things of 1 person (ann); `--all-owners` includes them.")
    Notice("Removing 2 instances of yours in us-west-2.")
    Notice("Removing 2 security groups in us-west-2.")
    Detail("waiting for 1 security group to go away")
    Outcome("error: cannot do `x`\n  1: no room")
    Outcome("Ended with exit status 2 after 1m 06s: make 'a b'")
    Outcome("Ended with exit status 137 after 1m 06s, where the memory limit of its machine (`--memory`) was reached: make")
    Outcome("Succeeded after 1m 06s: make")
    Outcome("Cancelled after 1m 06s: make")
    Outcome("Ended because its time was over after 1m 06s: make")
    Outcome("Succeeded in 2 of 3 cells, exit code 7: make")
    Outcome("Detached: the run continues on hg-0123456789, until 2026-11-20T10:53:01Z at the latest.\n`automation runs attach r-1` follows it, `automation runs cancel r-1` ends it.")
    Outcome("Detached: the run continues on hg-0123456789, until its lease is over.\n`automation runs attach r-1` follows it, `automation runs cancel r-1` ends it.")
    Outcome("Left behind beside it:\n  volume vol: not released yet")
    Outcome("Kept hg-0123456789 until 2026-11-20T10:53:01Z; `automation machine ssh hg-1` enters it, `automation machine down hg-1` ends it.")
    Outcome("Nothing was made, nothing is left behind.")
    Outcome("Nothing is left behind: 5 resources made, 2 kept for later runs, 3 seen gone (`automation audit --run r-1`).")
    Outcome("hg-0123456789 is ending; `automation audit --run r-1` confirms it.")
    Outcome("Left behind, 2 of 5:\n  volume vol: in use\n  volume vol: not released yet\nRemove them with `automation audit`.")
    Warning("cannot do `x`: no room")
    Warning("`/x/events.log` cannot be written and will not be whole: no room")
    "#);
}

#[test]
fn however_many_names_there_are_an_event_holds_a_few() {
    let names: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    let event =
        Event { at: at(), subject: None, cell: None, kind: FilesEvent::LinksLeft(names.as_slice().into()).into() };
    assert!(line(&event).len() < 2000, "{}", line(&event).len());
    let words = Words::Notice("Links that do not lead to a file were left: 0, 1, 2, 99997 more".to_owned());
    assert_eq!(event.words(), words);
}

#[derive(Default)]
struct Kept(Mutex<Vec<Event>>);

impl Sink for Kept {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

#[test]
fn what_is_told_has_a_time_and_a_subject_and_a_step_that_is_dropped_has_stopped() {
    let kept = Arc::new(Kept::default());
    let teller = Teller::new(Arc::<Kept>::clone(&kept), Arc::new(at)).about(Subject::Image("x".into()));
    let done = teller.begin(Work::ListingTests);
    drop(teller.begin(Work::RunningTests));
    done.finish_with(Moved { files: 1, bytes: 2 });
    teller.machine(&machine(), MachineEvent::RootIsRoot);
    let events = kept.0.lock().unwrap().clone();
    assert!(events.iter().all(|event| event.at == at()));
    let image = Some(Subject::Image("x".into()));
    assert!(events[..4].iter().all(|event| event.subject == image), "{events:?}");
    assert_eq!(events[4].subject, Some(Subject::Machine(machine())));
    let EventKind::Step(StepEvent::Stopped { work: Work::RunningTests, .. }) = &events[2].kind else {
        panic!("{events:?}")
    };
    let EventKind::Step(StepEvent::Ended { moved: Some(_), .. }) = &events[3].kind else { panic!("{events:?}") };
    assert_eq!(events.len(), 5);
}
