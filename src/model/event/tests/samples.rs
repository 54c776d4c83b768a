//! One event of every kind, and what they are made of.

use std::time::Duration;

use super::super::*;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::filesystem::Filesystem;
use crate::image::Fingerprint;
use crate::outcome::{Counts, TestOutcome, TestResult, Verdict};
use crate::price::Quote;
use crate::resource::ResourceKind;
use crate::work::{Holder, Moved, Work};

pub(super) fn at() -> Timestamp {
    "2026-11-20T10:53:01.25Z".parse().unwrap()
}

pub(super) fn machine() -> MachineId {
    "hg-0123456789".parse().unwrap()
}

fn failure() -> Failure {
    Failure::from(&Fault::outside("cannot do `x`").because("no room"))
}

pub(super) fn took() -> Duration {
    Duration::from_millis(65_500)
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn quote() -> Quote {
    Quote {
        currency: "USD".into(),
        compute_per_hour: 1.5,
        volumes_per_hour: 0.25,
        address_per_hour: 0.25,
        basis: "c5.9xlarge on demand in us-west-2".into(),
    }
}

pub(super) fn works() -> Vec<Work> {
    let holder = Holder { run: "r-1".into(), owner: "ann@build1".into(), since: "2026-11-20T10:00:00Z".into() };
    vec![
        Work::Booting { machine: machine(), image: "linux-dev-debian12".into() },
        Work::Using { machine: "hg-0123456789 (quiet-otter), which is up".into() },
        Work::TakingSnapshot { machine: machine(), image: "built-once".into() },
        Work::Releasing { machine: machine() },
        Work::Leaving { machine: "plain-debian12 of hg-0123456789".into() },
        Work::BakingLayer { image: "linux-dev".into(), layer: "packages".into(), number: 2, of: 5 },
        Work::BakingLayers { image: "linux-dev".into(), count: 4 },
        Work::Preparing { folder: "/work".into(), filesystem: Filesystem::Ext4 },
        Work::WaitingForHolder { most: took(), holder: Some(holder) },
        Work::WaitingForHolder { most: took(), holder: None },
        Work::Holding,
        Work::Pushing { revision: "0123".into(), from: "/home/me/x".into() },
        Work::CheckingOut { revision: "0123".into() },
        Work::ApplyingChanges,
        Work::Signing { name: "a.exe".into() },
        Work::Building { what: "0123".into() },
        Work::WaitingForBuild { what: "0123".into() },
        Work::RestoringBuild { what: "0123".into() },
        Work::ListingTests,
        Work::PackingHistory { of: "/home/me/x".into() },
        Work::SendingFiles { from: "/home/me/x".into() },
        Work::SettingUp { what: "apt-get install -y libfoo-dev".into() },
        Work::RunningTests,
        Work::RunningCommand { line: "make check".into() },
        Work::CheckingContract,
        Work::RemovingFiles,
        Work::FetchingArtifacts,
        Work::SyncingBack,
        Work::Synchronising { from: "x".into(), to: "/x".into() },
        Work::Copying { from: "x".into(), to: "hg-1:/x".into() },
        Work::RunningOnMany { machines: 3 },
        Work::CheckingRelease { version: "7.2.4".into(), from: "dist".into() },
        Work::ComparingRelease { version: "7.2.4".into() },
        Work::Publishing { version: "7.2.4".into(), files: 36 },
    ]
}

fn steps() -> Vec<EventKind> {
    let mut events: Vec<StepEvent> = works().into_iter().map(|work| StepEvent::Began { work }).collect();
    events.extend([
        StepEvent::Expected { took: took() },
        StepEvent::Said { line: "a line \u{1b}[0m".into() },
        StepEvent::Waiting { machines: vec![machine(); 5] },
        StepEvent::Moved { done: 1024, total: Some(4096) },
        StepEvent::Moved { done: 1024, total: None },
        StepEvent::Ended { work: Work::ListingTests, took: took(), moved: None },
        StepEvent::Ended { work: Work::FetchingArtifacts, took: took(), moved: Some(Moved { files: 3, bytes: 2048 }) },
        StepEvent::Ended { work: Work::RunningOnMany { machines: 3 }, took: took(), moved: None },
        StepEvent::Stopped { work: Work::ListingTests, took: took() },
    ]);
    events.into_iter().map(EventKind::from).collect()
}

fn of_machines() -> Vec<EventKind> {
    let events = vec![
        MachineEvent::CostForeseen { quote: quote(), life: Duration::from_secs(3600) },
        MachineEvent::CostUnknown,
        MachineEvent::Cost { quote: quote(), age: Duration::from_secs(1800) },
        MachineEvent::LaunchRefused { failure: failure() },
        MachineEvent::NoSpareCapacity,
        MachineEvent::TypeChosen { instance_type: "c5a.8xlarge".into() },
        MachineEvent::RootIsRoot,
        MachineEvent::ShellPrints { user: "hg".into(), noise: "welcome".into() },
        MachineEvent::LettingIn { ranges: texts(&["192.0.2.1/32", "192.0.2.2/32"]) },
        MachineEvent::LetInUnknown { trouble: LetInTrouble::Failed(failure()) },
        MachineEvent::LetInUnknown { trouble: LetInTrouble::NoAnswer(took()) },
        MachineEvent::ConnectionLost { why: "end of file".into() },
        MachineEvent::ConnectedAgain { after: took() },
        MachineEvent::OutputWaits { failure: failure() },
        MachineEvent::LeaseNotRenewed { failure: failure() },
        MachineEvent::TakenBack { why: "Amazon takes the spot instance back".into(), ends_at: Some(at()) },
        MachineEvent::TakenBack { why: "Amazon takes the spot instance back".into(), ends_at: None },
        MachineEvent::NotLeft { within: took(), failure: failure() },
        MachineEvent::Following { run: "r-1".parse().unwrap() },
        MachineEvent::NotReleased { failure: failure() },
        MachineEvent::LeftUnknown { failure: failure() },
    ];
    events.into_iter().map(EventKind::Machine).collect()
}

fn of_images_and_accounts() -> Vec<EventKind> {
    let fingerprint = Fingerprint("0123456789abcdef".repeat(4));
    let (owner, expired_at) = (Some("ann@build1".to_owned()), Some(at()));
    vec![
        ImageEvent::WaitingForProcess { awaited: Awaited::Layer(fingerprint.clone()) }.into(),
        ImageEvent::WaitingForProcess { awaited: Awaited::Tool }.into(),
        ImageEvent::OthersNotUsed { fingerprint, owners: texts(&["ann", "bob"]) }.into(),
        ImageEvent::Waiting { id: "ami-1".into() }.into(),
        ImageEvent::Pending { id: "ami-1".into(), waited: took() }.into(),
        ImageEvent::StartsFrom { id: "ami-1".into(), age: Duration::from_secs(13 * 24 * 3600 + 5) }.into(),
        ImageEvent::BringingIn { package: "mmdebstrap".into() }.into(),
        ImageEvent::PackagesFrom { mirror: "http://deb.example/debian".into() }.into(),
        AccountEvent::PriceUnknown { instance_type: "c5.9xlarge".into(), failure: failure() }.into(),
        AccountEvent::RoleAllowsMore { role: "role".into(), policies: texts(&["a", "b"]) }.into(),
        AccountEvent::GroupLetsInMore { group: "group".into(), port: 22, rules: texts(&["tcp 80"]) }.into(),
        AccountEvent::NotLookedAt { provider: "ec2".into(), failure: failure() }.into(),
        AccountEvent::ExpiredNotEnded { provider: "ec2".into(), failure: failure() }.into(),
        AccountEvent::ExpiredEnded { id: "hg-1".into(), owner: None, expired_at }.into(),
        AccountEvent::ExpiredStays { id: "hg-1".into(), owner, expired_at, why: "no".into() }.into(),
    ]
}

fn of_tests() -> Vec<EventKind> {
    let counts = Counts { total: 3, passed: 1, failed: 1, lost: 1, ..Counts::default() };
    let events = vec![
        TestsEvent::DistroChosen { distro: "debian12".into(), of: "0123".into(), passed_over: Vec::new() },
        TestsEvent::DistroChosen { distro: "debian13".into(), of: "0123".into(), passed_over: texts(&["x", "y"]) },
        TestsEvent::OtherSource {
            run: "20261120-105301-abcdef".parse().unwrap(),
            before: "01".into(),
            now: "23".into(),
        },
        TestsEvent::NothingUncommitted,
        TestsEvent::Selected { tests: 3, foreseen: None },
        TestsEvent::Selected { tests: 3, foreseen: Some(Duration::from_secs(75)) },
        TestsEvent::TestBegan { test: "test-a.t".into() },
        TestsEvent::PartEnded { part: 2 },
        TestsEvent::MachineWithdrawn,
        TestsEvent::ended(&TestResult::of(
            "test-a.t".into(),
            TestOutcome::Failed,
            Some(Duration::from_millis(1250)),
            Some("no".into()),
        )),
        TestsEvent::ended(&TestResult::of("test-b.t".into(), TestOutcome::Passed, None, None)),
        TestsEvent::ChangesNotTested { files: 2 },
        TestsEvent::MuteExpired {
            test: "test-a.t".into(),
            expires: "2026-11-19".parse().unwrap(),
            reason: "issue 1".into(),
        },
        TestsEvent::SendingAgain { failure: failure() },
        TestsEvent::BuildReused { what: "0123".into(), bytes: 2048, despite: Some("only tests changed".into()) },
        TestsEvent::BuildReused { what: "0123".into(), bytes: 2048, despite: None },
        TestsEvent::BuildUseless { what: "0123".into() },
        TestsEvent::RunnerBuilds { what: "0123".into(), why: "no compiler".into() },
        TestsEvent::BuildNotKept { what: "0123".into(), failure: failure() },
        TestsEvent::Ready { source: "revision 0123".into(), expected: 1 },
        TestsEvent::ReportAskedAgain,
        TestsEvent::Judged { verdict: Verdict::Incomplete, counts, summary: "one\ntwo".into() },
        TestsEvent::NotBuilt { look: "automation runs logs r-1".into() },
        TestsEvent::ArtifactsLack { failure: failure() },
    ];
    events.into_iter().map(EventKind::from).collect()
}

fn of_files_and_removals() -> Vec<EventKind> {
    let resource = ResourceKind::SecurityGroup;
    vec![
        PackagesEvent::Built { cell: "wheel-3.13-x64".into(), name: "a.whl".into(), bytes: 2048, signed: false }.into(),
        PackagesEvent::Built { cell: "inno-x64".into(), name: "a.exe".into(), bytes: 2048, signed: true }.into(),
        PackagesEvent::NotBuilt { cell: "inno-x86".into(), failure: failure(), log: Some("dist/logs/x.log".into()) }
            .into(),
        PackagesEvent::NotBuilt { cell: "inno-x86".into(), failure: failure(), log: None }.into(),
        PackagesEvent::BuiltAgain { cell: "inno-x86".into(), failure: failure() }.into(),
        PackagesEvent::Judged { summary: "1 of 2 packages built, 1 failed".into() }.into(),
        FilesEvent::LinksLeft(Names::from(texts(&["a", "b", "c", "d"]).as_slice())).into(),
        FilesEvent::FolderLeft { glob: "out".into() }.into(),
        FilesEvent::LinksReplaced(Names::from(texts(&["a", "b\n"]).as_slice())).into(),
        FilesEvent::MemoryDamaged { folder: "/var/tmp/x".into() }.into(),
        FilesEvent::PutRight(Names::from(texts(&["a", "b\n"]).as_slice())).into(),
        FilesEvent::FolderReplaced { folder: "/home/me/x".into() }.into(),
        FilesEvent::FolderReplaced { folder: String::new() }.into(),
        FilesEvent::NotBroughtBack { what: NotBrought::Removed, names: Names::from(texts(&["a"]).as_slice()) }.into(),
        FilesEvent::NotBroughtBack { what: NotBrought::LeadsOut, names: Names::from(texts(&["a"]).as_slice()) }.into(),
        FilesEvent::NotBroughtBack { what: NotBrought::NoFile, names: Names::from(texts(&["a"]).as_slice()) }.into(),
        FilesEvent::Published { name: "a.whl".into(), place: "https://index.example.org/".into() }.into(),
        FilesEvent::PartsRemoved { count: 2, place: "ann@example.org:/release".into() }.into(),
        RemovalEvent::Unseen { resource, failure: failure() }.into(),
        RemovalEvent::OthersLeft { things: 2, owners: texts(&["ann"]) }.into(),
        RemovalEvent::Began { what: "2 instances of yours in us-west-2".into() }.into(),
        RemovalEvent::KindBegan { resource, count: 2, place: "us-west-2".into() }.into(),
        RemovalEvent::Waiting { resource, count: 1 }.into(),
    ]
}

fn of_runs() -> Vec<EventKind> {
    let (attach, cancel) = ("automation runs attach r-1".to_owned(), "automation runs cancel r-1".to_owned());
    let row = |why: Option<&str>| Remainder {
        resource: ResourceKind::Volume,
        name: "vol".into(),
        why: why.map(str::to_owned),
    };
    let ended = command_ends().into_iter().map(EventKind::from);
    let rest = [
        RunEvent::CellsEnded { line: "make".into(), cells: 3, succeeded: 2, code: 7 }.into(),
        RunEvent::Detached { machine: machine(), until: Some(at()), attach: attach.clone(), cancel: cancel.clone() }
            .into(),
        RunEvent::Detached { machine: machine(), until: None, attach, cancel }.into(),
        RunEvent::LeftBeside { left: vec![row(None)] }.into(),
        RunEvent::MachineKept {
            machine: machine(),
            enter: "automation machine ssh hg-1".into(),
            until: at(),
            down: "automation machine down hg-1".into(),
        }
        .into(),
        RunEvent::NothingMade.into(),
        RunEvent::Clean { made: 5, kept: 2, look: "automation audit --run r-1".into() }.into(),
        RunEvent::Releasing { machines: vec![machine()], look: "automation audit --run r-1".into() }.into(),
        RunEvent::LeftBehind { made: 5, left: vec![row(Some("in use")), row(None)], fix: "automation audit".into() }
            .into(),
        TroubleEvent::from(&Fault::outside("cannot do `x`").because("no room")).into(),
        TroubleEvent::LogNotWhole { path: "/x/events.log".into(), why: "no room".into() }.into(),
    ];
    std::iter::once(RunEvent::Failed { failure: failure() }.into()).chain(ended).chain(rest).collect()
}

/// A command that ended as commands do: by itself, for want of memory, on somebody's word, because its time was over.
fn command_ends() -> Vec<RunEvent> {
    let ended = |line: &str, exit, (timed_out, cancelled, memory_limit)| RunEvent::CommandEnded {
        line: line.into(),
        exit,
        took: took(),
        timed_out,
        cancelled,
        memory_limit,
    };
    let lost = || Exit::Lost("why".into());
    vec![
        ended("make 'a b'", Exit::Code(2), (false, false, false)),
        ended("make", Exit::Code(137), (false, false, true)),
        ended("make", Exit::Code(0), (false, false, false)),
        ended("make", lost(), (false, true, false)),
        ended("make", lost(), (true, false, false)),
    ]
}

/// Every kind of event, most of them once.
pub(super) fn all() -> Vec<Event> {
    let kinds = [steps(), of_machines(), of_images_and_accounts(), of_tests(), of_files_and_removals(), of_runs()];
    let event = |kind| Event { at: at(), subject: Some(Subject::Machine(machine())), cell: None, kind };
    kinds.into_iter().flatten().map(event).collect()
}
