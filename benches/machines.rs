//! How fast machines are: boot, setup of a second run, the help, memory. Prints a table with each bar and each peer.
//!
//! `cargo bench` runs it. The state directory is `target/bench-state` (or `AUTOMATION_BENCH_STATE`); the image is baked
//! there on first use. Peers that are not installed are named and left out; nothing is installed. Figures are medians of
//! whole operations; compare ratios of one run, since computers drift.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod common {
    pub(crate) mod median;
    pub(crate) mod roots;
    pub(crate) mod state;
}

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::median::median;
use common::roots::{self, Peer};
use flow::order::Order;
use flow::site::Sites;
use flow::{lease, preparation};
use model::base::id::RunId;
use model::event::NoSink;
use model::image::Fingerprint;
use model::machine::{Platform, ProviderKind};
use model::output::{OutputLimits, run_command};
use model::run::{RunRecord, RunState};
use model::task;

const BINARY: &str = env!("CARGO_BIN_EXE_automation");

fn main() {
    // The bench is its own guard, as the tool is.
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = local::internal(&arguments) {
        std::process::exit(code);
    }
    let state = std::env::var_os("AUTOMATION_BENCH_STATE")
        .map_or_else(|| support::root().join("target/bench-state"), PathBuf::from);
    bake(&state);
    let mut table = Table::default();
    boots(&state, &mut table);
    help(&mut table);
    main_job(&state, &mut table);
    table.print();
}

/// Rows of the result: what, ours, the bar, beside it.
#[derive(Default)]
struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    fn add(&mut self, what: &str, ours: String, bar: &str, beside: String) {
        self.rows.push([what.to_owned(), ours, bar.to_owned(), beside]);
    }

    fn print(&self) {
        println!("| work | median | bar | beside it, in the same run |\n|---|---|---|---|");
        for [what, ours, bar, beside] in &self.rows {
            println!("| {what} | {ours} | {bar} | {beside} |");
        }
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn automation(state: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("--state-path").arg(state).current_dir("/").stdin(Stdio::null());
    command
}

fn bake(state: &Path) {
    eprintln!("image (baked on first use) ...");
    let baked = automation(state).args(["image", "build"]).stdout(Stdio::null()).status().unwrap();
    assert!(baked.success(), "the image cannot be baked");
}

/// From a cached image to a finished remote `true`, by the very flow that runs tests.
fn boots(state: &Path, table: &mut Table) {
    let layers = roots::layers(BINARY, state, "linux-dev-debian12");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let context = common::state::open(state, Some("local"));
    let id = RunId::new(context.now());
    context.journal.store_run(&common::state::record(&context, &id)).unwrap();
    let (run, site) =
        (context.run(id.clone(), Arc::new(NoSink)), runtime.block_on(context.sites.site(ProviderKind::Local)).unwrap());
    let (mut boots, mut wholes) = (Vec::new(), Vec::new());
    let order = Order {
        layers: layers.clone(),
        ..Order::new("linux-dev-debian12", "hg", Duration::from_secs(600), site.grace)
    };
    for _ in 0..21 {
        let request = order.request(&run, run.now());
        let began = Instant::now();
        let folder = preparation::folder(&run, Platform::Linux);
        let ended = runtime.block_on(lease::with_machine(&run, &site, &request, &folder, None, async |_, durable| {
            let connection = durable.direct().await?;
            let done = run_command(connection.as_ref(), &task::Command::new("true"), OutputLimits::SMALL).await?;
            assert!(done.exit.is_success());
            Ok(lease::Completion::Release(began.elapsed()))
        }));
        boots.push(ended.result.unwrap());
        wholes.push(began.elapsed());
        assert!(ended.left.is_empty());
    }
    let ended = RunRecord { state: RunState::Ended, exit_code: Some(0), ..common::state::record(&context, &id) };
    context.journal.update_run(&ended).unwrap();
    let (boot, whole) = (median(boots), median(wholes));
    let beside = peers(state, &layers, boot);
    table.add("boot to a finished remote `true`", milliseconds(boot), "at most 300 ms", beside);
    table.add("the same, until all is seen gone", milliseconds(whole), "", String::new());
}

/// The same root run by others.
fn peers(state: &Path, layers: &[Fingerprint], ours: Duration) -> String {
    let nspawn =
        format!("systemd-nspawn --quiet --register=no --keep-unit --private-network -D {} /bin/true", roots::ROOT);
    let podman = format!("podman run --rm --network none --rootfs {} /bin/true", roots::ROOT);
    let peers = [("systemd-nspawn", nspawn), ("podman", podman)].map(|(name, line)| Peer { name, line });
    let said = peers.map(|peer| {
        let times: Result<Vec<Duration>, String> = (0..7).map(|_| peer.time(state, layers)).collect();
        match times {
            Err(why) => why,
            Ok(times) => {
                let theirs = median(times);
                let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
                format!("{} `true` without SSH {} ({ratio:.2} times ours)", peer.name, milliseconds(theirs))
            }
        }
    });
    said.join("; ")
}

fn help(table: &mut Table) {
    let time = |program: &str| {
        let once = || {
            let began = Instant::now();
            assert!(Command::new(program).arg("--help").stdout(Stdio::null()).status().unwrap().success());
            began.elapsed()
        };
        median((0..41).map(|_| once()).collect())
    };
    let (ours, floor) = (time(BINARY), time("/bin/true"));
    table.add(
        "`automation --help`",
        milliseconds(ours),
        "at most 10 ms",
        format!("`true --help` {}", milliseconds(floor)),
    );
}

/// The second main job, image there: setup, and the driver's peak memory.
fn main_job(state: &Path, table: &mut Table) {
    let (mut setups, mut memory) = (Vec::new(), 0);
    for _ in 0..3 {
        let child = automation(state)
            .args(["run-tests-linux", "--json", "test-add.t", "test-commit.t", "test-merge1.t"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (output, peak) = support::child::finish(child);
        let results: serde_json::Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(results["verdict"], "passed");
        setups.push(Duration::from_secs_f64(results["time"]["setup"].as_f64().unwrap()));
        memory = memory.max(peak);
    }
    let setup = format!("{:.2} s", median(setups).as_secs_f64());
    table.add("setup of the second main job", setup, "at most 3 s", String::new());
    table.add("peak memory of the driver", format!("{:.1} MB", memory as f64 / 1e3), "at most 60 MB", String::new());
}
