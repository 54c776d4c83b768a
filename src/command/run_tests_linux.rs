//! `automation run-tests-linux`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::id::MachineId;
use crate::base::text;
use crate::command::context::Context;
use crate::command::error;
use crate::command::session::{Ending, Session};
use crate::flow::bake::{Options, bake};
use crate::flow::lease::{until_stopped, with_machine};
use crate::flow::{later, suite};
use crate::model::fault::{Fault, FaultKind};
use crate::model::image::ImagePlan;
use crate::model::machine::{Caps, Machine, Network, ProviderKind};
use crate::model::outcome::{Results, TimeSplit, count, verdict};
use crate::model::provider::MachineRequest;
use crate::model::suite::Suite;
use crate::project::mercurial;
use crate::report;
use crate::state::runs::RunFile;

/// Run Mercurial's test suite on an ephemeral Linux machine.
///
/// Inside a checkout of Mercurial its revision is sent and tested, elsewhere the source that comes with the image. The
/// image is baked on first use. Exit code: 0 all ran and passed, 1 some failed, 2 usage, 3 a cause outside, 4 something
/// was lost, 5 something was left behind, 130 interrupted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: automation run-tests-linux test-add.t test-commit.t -- --timeout 60 -j 4")]
pub struct Args {
    /// Tests to run, by the names of their files [default: all]
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// Flags for run-tests.py, as they are
    #[arg(last = true, value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
    #[command(flatten)]
    machine: MachineArgs,
    /// The file system of the work folder [default: default, or the settings' `defaults.filesystem`]
    #[arg(long, value_enum)]
    filesystem: Option<Filesystem>,
    /// The revision to test [default: the one checked out]
    #[arg(short, long, value_name = "REV")]
    revision: Option<String>,
    /// The checkout to test [default: the one around the current folder]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Also send uncommitted changes of tracked files
    #[arg(long)]
    working_copy: bool,
    /// How long the tests may take altogether; tests that did not end by then are lost
    #[arg(long, value_name = "SPAN", value_parser = parse_timeout)]
    timeout: Option<Duration>,
    /// Also write the JUnit report to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print the results as JSON; the tests' output goes to standard error
    #[arg(long)]
    pub json: bool,
}

/// What every command that makes a machine takes.
#[derive(Debug, Clone, clap::Args)]
pub struct MachineArgs {
    /// The distribution [default: debian12, or the settings' `defaults.distro`]
    #[arg(long, value_name = "NAME")]
    distro: Option<String>,
    /// The Python to run with: system3, pypy3 or 3.N [default: system3, or the settings' `defaults.python-version`]
    #[arg(long, value_name = "VERSION")]
    pub python_version: Option<String>,
    /// The network that the machine sees [default: loopback, or the settings' `defaults.network`]
    #[arg(long, value_enum)]
    network: Option<NetworkArg>,
    /// How many processors' worth of time the machine may use [default: no limit]
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// How much memory the machine may use [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,
}

/// The least memory with which a machine starts and somebody can log in.
const LEAST_MEMORY: u64 = 64 << 20;

fn parse_memory(text: &str) -> Result<u64, String> {
    match text::parse_bytes(text)? {
        bytes if bytes < LEAST_MEMORY => Err(format!("a machine needs at least {}", text::bytes(LEAST_MEMORY))),
        bytes => Ok(bytes),
    }
}

/// The machine's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworkArg {
    /// Its own, with loopback only
    Loopback,
    /// That of this computer
    Host,
}

/// A file system for the work folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Filesystem {
    /// The machine's root
    Default,
    /// On a volume of its own
    Btrfs,
    /// On a volume of its own
    Ext3,
    /// On a volume of its own
    Ext4,
    /// On a volume of its own
    Jfs,
    /// In memory
    Tmpfs,
    /// On a volume of its own
    Xfs,
}

/// The size of the second volume: the original's second volume had 8 GB. The file behind it is sparse.
const VOLUME: u64 = 8 << 30;

/// How long a test machine may live, whatever its driver says.
const EXPIRY: Duration = Duration::from_secs(13 * 3600);

/// A run of the whole suite takes 8 hours on 2 processors; the machine's own expiry is an hour behind the longest.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = text::parse_duration(text)?;
    if timeout <= EXPIRY - Duration::from_secs(3600) {
        return Ok(timeout);
    }
    Err(format!("`{text}` is longer than 12h, the most that a test machine lives"))
}

impl MachineArgs {
    /// The distribution.
    pub fn distro(&self, context: &Context) -> String {
        self.distro.clone().unwrap_or_else(|| context.settings.defaults.distro.clone())
    }

    /// The Python.
    pub fn python(&self, context: &Context) -> String {
        self.python_version.clone().unwrap_or_else(|| context.settings.defaults.python_version.clone())
    }

    /// The network.
    pub fn network(&self, context: &Context) -> Network {
        match self.network {
            Some(NetworkArg::Host) => Network::Host,
            Some(NetworkArg::Loopback) => Network::Loopback,
            None => context.settings.defaults.network,
        }
    }

    /// Refuses what a machine of somebody else's cannot be told.
    fn refuse_for_host(&self) -> Result<(), Fault> {
        let wishes = [
            ("--distro", self.distro.is_some()),
            ("--network", self.network.is_some()),
            ("--cpus", self.cpus.is_some()),
            ("--memory", self.memory.is_some()),
        ];
        match wishes.iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                Err(Fault::usage(format!("`{flag}` has no meaning on a machine that somebody else made")))
            }
            None => Ok(()),
        }
    }

    /// The limits.
    pub fn caps(&self) -> Result<Caps, Fault> {
        match self.cpus {
            Some(cpus) if !(0.05..=1024.0).contains(&cpus) => {
                Err(Fault::usage(format!("`--cpus {cpus}` is not between 0.05 and 1024")))
            }
            cpus => Ok(Caps { cpus, memory: self.memory }),
        }
    }
}

impl Filesystem {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Btrfs => "btrfs",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Jfs => "jfs",
            Self::Tmpfs => "tmpfs",
            Self::Xfs => "xfs",
        }
    }
}

/// Runs the tests.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let began = Instant::now();
    let kind = context.default_provider()?;
    let caps = args.machine.caps()?;
    let plan = match kind {
        ProviderKind::Host => {
            args.machine.refuse_for_host()?;
            None
        }
        _ => {
            let choice = context.choice(&args.machine.distro(&context), Some(&args.machine.python(&context)))?;
            Some(context.definition("linux-dev")?.plan(&choice)?)
        }
    };
    let current = std::env::current_dir().map_err(|e| Fault::outside("cannot tell the current folder").because(e))?;
    let checkout =
        mercurial::find(args.source.as_deref(), &current, args.revision.as_deref(), args.working_copy).await?;
    let filesystem = match args.filesystem {
        Some(filesystem) => filesystem.name().to_owned(),
        None => context.settings.defaults.filesystem.clone(),
    };
    let suite = mercurial::LinuxTests {
        tests: args.tests.clone(),
        flags: args.flags.clone(),
        filesystem: filesystem.clone(),
        python_version: plan.as_ref().map_or_else(|| args.machine.python(&context), |plan| plan.python.clone()),
        checkout,
        ssh: context.ssh()?,
    };
    if let Some(path) = &args.junit {
        writable(path)?;
    }
    let volume = (!matches!(filesystem.as_str(), "default" | "tmpfs")).then_some(VOLUME);
    let request = request(&context, &args, plan.as_ref(), caps, volume)?;
    let session = Session::begin(context, "run-tests-linux")?;
    let result = drive(&session, &args, began, plan.as_ref(), &suite, request).await;
    session.end(result).await
}

/// A report that cannot be written is better known before the tests than after them.
fn writable(path: &Path) -> Result<(), Fault> {
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map(drop)
        .map_err(|error| Fault::usage(format!("cannot write `--junit {}`", path.display())).because(error))
}

fn request(
    context: &Context,
    args: &Args,
    plan: Option<&ImagePlan>,
    caps: Caps,
    volume: Option<u64>,
) -> Result<MachineRequest, Fault> {
    let now = context.now();
    Ok(MachineRequest {
        id: MachineId::random(),
        run: crate::base::id::RunId::new(now),
        owner: context.owner.clone(),
        image: plan.map_or_else(|| "somebody else's machine".to_owned(), |plan| plan.name.clone()),
        layers: plan.map(|plan| plan.chain(plan.layers.len())).unwrap_or_default(),
        user: "hg".to_owned(),
        network: args.machine.network(context),
        caps,
        volume,
        now,
        expires_at: later(now, EXPIRY),
        grace: context.grace(),
    })
}

async fn drive(
    session: &Session,
    args: &Args,
    began: Instant,
    plan: Option<&ImagePlan>,
    suite: &mercurial::LinuxTests,
    request: MachineRequest,
) -> Result<Ending, Fault> {
    let stage = &session.stage;
    if let Some(plan) = plan {
        let options = Options { keep_failed: false, expiry: EXPIRY };
        bake(stage, session.context.images()?.as_ref(), plan, &options).await?;
    }
    let image = began.elapsed().as_secs_f64();
    let now = session.context.now();
    let request = MachineRequest { run: session.id().clone(), now, expires_at: later(now, EXPIRY), ..request };
    let target = session.dir.path().join("machine.json");
    let clean = suite.clean(&suite::folder(stage));
    let ended = with_machine(stage, &request, Some(&clean), async |machine, connection| {
        write_target(&target, machine)?;
        if machine.provider == ProviderKind::Host {
            until_stopped(stage, require_contract(stage, connection, suite)).await?;
        }
        let before = began.elapsed().as_secs_f64();
        let ran = suite::run(stage, machine, connection, suite, &target, args.timeout).await?;
        Ok((before, ran))
    })
    .await;
    let (before, ran) = ended.result?;
    let results = Results {
        id: session.id().clone(),
        verdict: verdict(&ran.tests, &ran.runner),
        counts: count(&ran.tests),
        time: TimeSplit {
            total: began.elapsed().as_secs_f64(),
            image,
            setup: before - image + ran.setup,
            tests: ran.testing,
        },
        image: match plan {
            Some(plan) => format!("{} {}", plan.name, plan.fingerprint()),
            None => request.image,
        },
        source: ran.source,
        runner: ran.runner,
        tests: ran.tests,
    };
    publish(session, args, &results)
}

/// `hg` starts our own program in place of `ssh`; this file tells it which machine is meant.
fn write_target(path: &Path, machine: &Machine) -> Result<(), Fault> {
    let fault = || Fault::outside(format!("cannot write `{}`", path.display()));
    let text = serde_json::to_vec_pretty(machine).map_err(|error| fault().because(error))?;
    crate::state::file::write_atomic(path, &text)
}

async fn require_contract(
    stage: &crate::flow::Stage,
    connection: &dyn crate::model::connection::Connection,
    suite: &dyn Suite,
) -> Result<(), Fault> {
    let checks = suite::check(stage, connection, suite).await?;
    let broken: Vec<String> = checks
        .iter()
        .filter(|check| !check.ok && check.required)
        .map(|check| format!("{}: {}", check.name, check.remedy.as_deref().unwrap_or(&check.found)))
        .collect();
    if broken.is_empty() {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Outside, "the machine does not keep the contract")
        .because(broken.join("\n"))
        .hint("`docs/remote-machine.md` says what a machine must have; `automation machine check` shows every clause."))
}

/// Writes the reports, shows the verdict.
fn publish(session: &Session, args: &Args, results: &Results) -> Result<Ending, Fault> {
    let json = report::json::render(results)?;
    session.dir.write(RunFile::Results, json.as_bytes())?;
    let junit = report::junit::render("run-tests-linux", results)?;
    session.dir.write(RunFile::Junit, junit.as_bytes())?;
    let screen = &session.context.screen;
    if args.json {
        screen.data(&format!("{}\n", json.trim_end()));
    }
    session.say(report::terminal::summary(results).trim_end());
    screen.message(&format!("Results: {}", session.dir.file(RunFile::Results).display()));
    // Last: a file that cannot be written must not hide the verdict.
    if let Some(path) = &args.junit {
        std::fs::write(path, &junit)
            .map_err(|error| Fault::outside(format!("cannot write `{}`", path.display())).because(error))?;
    }
    let interrupted = session.stage.stop.is_cancelled();
    let code = if interrupted { error::exit::INTERRUPTED } else { results.verdict.exit_code() };
    let counts = results.counts;
    let summary = format!(
        "{} {}: {} passed, {} failed, {} skipped, {} lost",
        counts.total,
        if counts.total == 1 { "test" } else { "tests" },
        counts.passed,
        counts.failed,
        counts.skipped,
        counts.lost
    );
    Ok(Ending { code, summary })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_not_asked_to_start_in_no_memory() {
        assert_eq!(parse_memory("64M"), Ok(64 << 20));
        assert_eq!(parse_memory("63M"), Err("a machine needs at least 64.0 MiB".to_owned()));
        assert!(parse_memory("1").is_err() && parse_memory("x").is_err());
    }
}
