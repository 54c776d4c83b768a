//! Packages that a machine in memory builds: only what it says that it made, and what arrives as that, counts.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use connection::dummy::Reply;
use flow::image::bake::BakeOptions;
use flow::order::Order;
use flow::packaging::{Dist, PackagingJob, PackagingRecords, build_packages};
use model::event::Teller;
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::machine::{Hardware, Machine};
use model::output::Output;
use model::packaging::{CellOutcome, PackageCell, Packager, PackagingResults};
use model::preparation::{Job, Preparation, Tenancy};
use model::release::MANIFEST;
use model::script::ScriptFile;
use model::task::{Command, StepCommand};
use model::work::Work;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use state::dir::StateDir;

use super::builds::Kept as Builds;
use super::{GRACE, Theatre};

/// Builds the packages of cells that it is told, by the command `build CELL`.
struct Maker(Vec<&'static str>);

#[async_trait]
impl Preparation for Maker {
    fn files(&self) -> Vec<ScriptFile> {
        Vec::new()
    }

    fn set_up(&self, _: &str, _: &Machine) -> Vec<Job> {
        Vec::new()
    }

    async fn send(&self, _: &Path, _: &Teller) -> Result<(), Fault> {
        Ok(())
    }

    fn explain(&self, _: &StepCommand, _: &Output) -> Option<Fault> {
        None
    }

    fn brings(&self) -> Option<String> {
        None
    }

    fn place(&self) -> Option<String> {
        None
    }

    fn tenancy(&self) -> Option<Box<dyn Tenancy>> {
        None
    }
}

impl Packager for Maker {
    fn cells(&self) -> Vec<PackageCell> {
        self.0.iter().map(|name| PackageCell { name: (*name).to_owned(), what: format!("package {name}") }).collect()
    }

    fn version(&self) -> Option<String> {
        Some("1".to_owned())
    }

    fn clear(&self, _: &str, is_first: bool) -> Vec<StepCommand> {
        let command = Command::new(if is_first { "clear-first" } else { "clear" });
        vec![StepCommand { work: Work::RemovingFiles, command, limit: Duration::from_secs(60) }]
    }

    fn build(&self, _: &str, cell: &PackageCell, _: &str) -> StepCommand {
        let work = Work::Building { what: cell.what.clone() };
        StepCommand { work, command: Command::new("build").arg(&cell.name), limit: Duration::from_secs(3600) }
    }
}

/// What a build says of a file that has `bytes`.
fn told(path: &str, bytes: &[u8]) -> Value {
    let sum = data_encoding::HEXLOWER.encode(&Sha256::digest(bytes));
    json!({"path": path, "size": bytes.len(), "sha256": sum, "version": "1"})
}

fn says(what: &Value) -> Reply {
    Reply::ok().stderr("compiling\n").stdout(format!("{what}\n"))
}

/// Runs a build of `cells` into `dist`; `answer` gives what the build of each does, by the folder for its file.
async fn build(
    dist: &Path,
    cells: &[&'static str],
    answer: impl Fn(&str, &str) -> Reply,
) -> (Theatre, Result<PackagingResults, Fault>) {
    let theatre = Theatre::new();
    theatre.tasks.on("clear-first", Reply::ok()).on("clear", Reply::ok());
    let folder = flow::preparation::folder(&theatre.run, theatre.request().platform);
    for cell in cells {
        theatre.tasks.on(format!("build {cell}"), answer(cell, &format!("{folder}/made/{cell}")));
    }
    let opened = Dist::open(dist, &theatre.run.id);
    let opened = match opened {
        Ok(opened) => opened,
        Err(fault) => return (theatre, Err(fault)),
    };
    let place = tempfile::tempdir().unwrap();
    let kept = StateDir::open(&place.path().join("state")).unwrap().create_run(&theatre.run.id).unwrap();
    let baking = BakeOptions {
        keep_failed: None,
        expiry: Duration::from_secs(3600),
        hardware: Hardware::default(),
        max_cost: None,
    };
    let order = Order::new("test", "hg", Duration::from_secs(7200), GRACE);
    let maker = Maker(cells.to_vec());
    let job = PackagingJob {
        packager: &maker,
        plan: None,
        baking: &baking,
        order: &order,
        clauses: &[],
        machines: 1,
        limit: None,
        signer: None,
    };
    let builds = Builds::default();
    let records = PackagingRecords { folder: &kept, dist: &opened, builds: &builds };
    let results = build_packages(&theatre.run, &theatre.site, &job, &records).await;
    theatre.assert_clean().await;
    drop(opened);
    (theatre, results)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn listed(folder: &Path) -> Vec<String> {
    let list: Value = serde_json::from_slice(&std::fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
    list["artifacts"].as_array().unwrap().iter().map(|listed| listed["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_arrives_otherwise_than_it_was_built_is_not_used_and_the_others_are() {
    let dist = tempfile::tempdir().unwrap();
    let cells =
        ["good", "sum", "long", "short", "foreign", "above", "hidden", "silent", "torn", "absent", "failing", "late"];
    let (theatre, results) = build(dist.path(), &cells, |cell, folder| {
        let path = |name: &str| format!("{folder}/{name}");
        let with = |name: &str, bytes: &[u8], said: &[u8]| says(&told(&path(name), said)).file(path(name), bytes);
        match cell {
            "sum" => with("sum.exe", b"other", b"bytes"),
            "long" => with("long.exe", b"bytes and more", b"bytes"),
            "short" => with("short.exe", b"byte", b"bytes"),
            "foreign" => says(&told("/etc/passwd", b"root")).file("/etc/passwd", b"root".to_vec()),
            "above" => says(&told(&path("../above.exe"), b"bytes")).file(path("../above.exe"), b"bytes".to_vec()),
            "hidden" => with(".hidden.exe", b"bytes", b"bytes"),
            "silent" => Reply::ok().stdout("built it\n"),
            "torn" => Reply::ok().stdout(told(&path("torn.exe"), b"bytes").to_string()[..40].to_owned()),
            "absent" => says(&told(&path("absent.exe"), b"bytes")),
            "failing" => Reply::exit(Exit::Code(1)).stderr("one\ntwo\nError on line 7\n"),
            _ => with(&format!("{cell}.exe"), b"bytes", b"bytes"),
        }
    })
    .await;
    let results = results.unwrap();
    let reason = |cell: &str| {
        let result = results.cells.iter().find(|result| result.cell == cell).unwrap();
        assert_eq!((result.outcome, result.artifact.is_none()), (CellOutcome::Failed, true), "{result:?}");
        assert!(result.log.as_ref().is_some_and(|log| log.is_file()), "{result:?}");
        result.reason.clone().unwrap()
    };
    for cell in ["sum", "long", "short"] {
        let said = reason(cell);
        assert!(said.contains("5 bytes with the sum") && said.contains("arrived"), "{cell}: {said}");
    }
    for cell in ["foreign", "above", "hidden"] {
        assert!(reason(cell).contains("is no file of `"), "{cell}: {}", reason(cell));
    }
    for cell in ["silent", "torn"] {
        assert!(reason(cell).contains("does not say what it made"), "{cell}: {}", reason(cell));
    }
    assert!(reason("absent").contains("absent.exe"), "{}", reason("absent"));
    assert!(reason("failing").contains("Error on line 7"), "{}", reason("failing"));
    assert_eq!((results.count(CellOutcome::Built), results.exit_code()), (2, 1));
    assert_eq!(names(dist.path()), ["good.exe", "late.exe", "logs", MANIFEST]);
    assert_eq!(listed(dist.path()), ["good.exe", "late.exe"]);
    // What an earlier build left is removed before each.
    let started = theatre.tasks.started();
    let cleared = started.iter().filter(|line| line.starts_with("clear")).count();
    assert_eq!((cleared, started[0].as_str(), started[2].as_str()), (cells.len(), "clear-first", "clear"));
}

#[tokio::test(start_paused = true)]
async fn runs_into_one_folder_keep_each_others_packages() {
    let dist = tempfile::tempdir().unwrap();
    let well = |cell: &str, folder: &str| {
        let path = format!("{folder}/{cell}.exe");
        says(&told(&path, cell.as_bytes())).file(path, cell.as_bytes())
    };
    let other = |cell: &str, folder: &str| {
        let path = format!("{folder}/{}.exe", if cell == "c" { "a" } else { cell });
        says(&told(&path, b"newer")).file(path, b"newer".to_vec())
    };
    let (one, two) = tokio::join!(build(dist.path(), &["a", "b"], well), build(dist.path(), &["d", "e"], well));
    assert_eq!([one.1.unwrap().exit_code(), two.1.unwrap().exit_code()], [0, 0]);
    assert_eq!(listed(dist.path()), ["a.exe", "b.exe", "d.exe", "e.exe"]);
    // A package of the same name takes the place of the earlier one, in the folder and in the list.
    assert_eq!(build(dist.path(), &["c"], other).await.1.unwrap().exit_code(), 0);
    assert_eq!(listed(dist.path()), ["a.exe", "b.exe", "d.exe", "e.exe"]);
    assert_eq!(std::fs::read(dist.path().join("a.exe")).unwrap(), b"newer");
    assert_eq!(names(dist.path()), ["a.exe", "b.exe", "d.exe", "e.exe", "logs", MANIFEST]);

    // A folder whose list is of something else is refused before a machine is made, and stays as it was.
    std::fs::write(dist.path().join(MANIFEST), "[]").unwrap();
    let (theatre, refused) = build(dist.path(), &["f"], well).await;
    let fault = refused.unwrap_err();
    assert!(fault.kind == FaultKind::Outside && fault.message.contains("cannot read the list"), "{fault:?}");
    assert_eq!((theatre.tasks.started(), std::fs::read(dist.path().join(MANIFEST)).unwrap()), (vec![], b"[]".to_vec()));
    assert_eq!(names(dist.path()).len(), 6);
}
