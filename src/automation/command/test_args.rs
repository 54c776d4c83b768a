//! The options and the course of every command that runs tests: what they have alike, whatever system the machine has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flow::order::Order;
use flow::testing::shards::{Group, Policy, ShardsJob, Split, run_shards};
use flow::testing::{OnceBegun, Records, TestJob, run_job};
use jiff::Timestamp;
use model::base::id::{MachineId, RunId, TestName};
use model::base::text;
use model::event::{TestsEvent, TroubleEvent};
use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::{Machine, ProviderKind};
use model::mute::Mute;
use model::runner::Runner;
use model::script::ScriptFile;
use model::subject::TestSubject;
use serde::Serialize;

use crate::command::artifact_args::ArtifactArgs;
use crate::command::error;
use crate::command::image::baking_for;
use crate::command::machine_args::default_ttl;
use crate::command::session::{Ending, Session};
use crate::command::shard_args::ShardArgs;
use crate::command::testing::{Reports, conclude, conclude_shards, history_key};
use crate::command::unfit::{refuse_options, refuse_wait};
use crate::compose::Context;
use crate::ui;

/// The options of every command that runs tests.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Call a run in which every test was skipped passed
    #[arg(long)]
    allow_all_skipped: bool,
    /// A list of tests that are known to fail: they run, and their failures are shown and do not count. In TOML, each entry
    /// `[[mute]]` with `test` (a name; `*` stands for any characters), `expires` (the last day on which it holds) and `reason`
    #[arg(long, value_name = "FILE")]
    mute: Option<PathBuf>,
    /// Keep each machine on which a test failed for so long, to look at it; it goes by itself then
    #[arg(long, value_name = "SPAN", value_parser = text::parse_ttl)]
    keep_failed: Option<Duration>,
    /// How long the tests may take altogether; tests that did not end by then are lost
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    pub timeout: Option<Duration>,
    /// How long to wait for another run that uses a machine of somebody else's [default: 2m]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    wait: Option<Duration>,
    /// How long the machine lives at most, whatever happens to this command [default: 13h, 2h on EC2]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_ttl)]
    ttl: Option<Duration>,
    /// Return as soon as the tests run; they go on on the machine, which lives until its expiry (`--ttl`). `runs attach` follows
    /// them. Prints the run's id; with `--json` also its machine and when that expires
    #[arg(long, conflicts_with = "junit")]
    detach: bool,
    /// How the tests are split over machines.
    #[command(flatten)]
    shards: ShardArgs,
    /// The files to bring home.
    #[command(flatten)]
    pub artifacts: ArtifactArgs,
    /// The places to which results go.
    #[command(flatten)]
    reports: Reports,
}

/// The JSON of `--detach --json`.
#[derive(Serialize)]
struct Detached<'a> {
    id: &'a RunId,
    machine: &'a MachineId,
    expires_at: Timestamp,
}

/// How long split tests may take altogether where no limit is given: the whole of Mercurial's suite takes 8 hours on 2 processors.
const TESTS_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// The time that a machine needs before and after its tests: for booting, preparing, bringing the results home.
const AROUND_TESTS: Duration = Duration::from_secs(3600);

impl TestArgs {
    /// Refuses options that have no meaning with the provider.
    pub fn refuse_unfit(&self, kind: ProviderKind) -> Result<(), Fault> {
        self.shards.refuse_unfit(kind)?;
        if kind == ProviderKind::Host {
            refuse_options(&[("--keep-failed", self.keep_failed.is_some())], kind)?;
        }
        refuse_wait(self.wait.is_some(), kind)
    }

    /// Whether JSON is wanted.
    pub fn asks_for_json(&self) -> bool {
        self.reports.json
    }

    /// How long to wait for another run.
    pub fn patience(&self) -> Duration {
        self.wait.unwrap_or(project::PATIENCE)
    }

    /// How long the machine may live: longer than the tests, by the time that booting and preparing take.
    pub fn lifetime(&self, kind: ProviderKind) -> Result<Duration, Fault> {
        let ttl = self.ttl.unwrap_or_else(|| default_ttl(kind));
        let most = ttl.saturating_sub(AROUND_TESTS);
        match self.timeout {
            Some(timeout) if timeout > most && self.ttl.is_none() && kind == ProviderKind::Ec2 => {
                Ok(timeout + AROUND_TESTS)
            }
            Some(timeout) if timeout > most => Err(Fault::usage(format!(
                "`--timeout {}` leaves no time before and after the tests of a machine that lives {}",
                text::seconds(timeout),
                text::seconds(ttl)
            ))
            .hint("Give a longer `--ttl`.")),
            _ => Ok(ttl),
        }
    }
}

/// Tests that a command runs, with everything about them resolved.
pub struct ResolvedTests<'a> {
    /// The command's name.
    pub command: &'static str,
    /// The runner.
    pub runner: &'a dyn Runner,
    /// The image; none on a machine that somebody else made.
    pub plan: Option<&'a ImagePlan>,
    /// The machine.
    pub order: &'a Order,
    /// The scripts with the clauses that the tests add to the machine contract.
    pub clauses: &'a [ScriptFile],
    /// What the user should know of them before.
    pub remarks: Vec<TestsEvent>,
}

/// Runs the tests as a run of its own, to its end.
pub async fn run_tests(context: Context, args: &TestArgs, tests: ResolvedTests<'_>) -> Result<i32, Fault> {
    let fetch = args.artifacts.check()?;
    let mutes = args.mute.as_deref().map(project::mutes::read).transpose()?.unwrap_or_default();
    args.reports.check()?;
    // The time that looking things up took belongs to no part of the run.
    let began = Instant::now();
    let session = Session::begin(context, tests.command).await?;
    let (mutes, expired): (Vec<Mute>, Vec<Mute>) =
        mutes.into_iter().partition(|mute| mute.is_in_force(session.started_at()));
    let expired =
        expired.into_iter().map(|Mute { test, expires, reason }| TestsEvent::MuteExpired { test, expires, reason });
    for remark in tests.remarks.into_iter().chain(expired) {
        session.run.tell(remark);
    }
    let job = TestJob {
        runner: tests.runner,
        plan: tests.plan,
        baking: &baking_for(tests.order),
        order: tests.order,
        clauses: tests.clauses,
        fetch: &fetch,
        limit: args.timeout,
        allow_all_skipped: args.allow_all_skipped,
        keep_failed: args.keep_failed,
        mutes: &mutes,
        began,
        once_begun: OnceBegun::Follow(&|| ()),
    };
    let result = match args.shards.policy() {
        Some((machines, policy)) => drive_shards(&session, args, &job, machines, &policy).await,
        None => drive(&session, args, job).await,
    };
    session.end(result).await
}

/// Runs the tests, in this process to their end, or until they are left on their machine.
async fn drive(session: &Session, args: &TestArgs, job: TestJob<'_>) -> Result<Ending, Fault> {
    let unannounced = AtomicBool::new(false);
    let announce = |machine: &Machine| {
        announce(session, args, machine).inspect_err(|_| unannounced.store(true, Ordering::Relaxed))
    };
    let once_begun =
        if args.detach { OnceBegun::Leave(&announce) } else { OnceBegun::Follow(&|| session.detachable()) };
    let (output, builds) = (session.output(), session.context.state.builds());
    let stop = session.run.stop.clone();
    let records = Records { folder: &session.dir, output: &output, stop, watch: &|_| () };
    let job = TestJob { once_begun, ..job };
    let (ended, task) = run_job(&session.run, &session.site, &job, &records, &builds).await?;
    if unannounced.into_inner() {
        // The fault reports the failed write, with what became of the tests.
        drop(ui::take_write_fault());
    }
    let ending = conclude(session, &args.reports, task, ended).await?;
    Ok(if args.detach { accept_detach(ending) } else { ending })
}

/// Runs the tests on several machines, in this process to their end, or until they are left there.
async fn drive_shards(
    session: &Session,
    args: &TestArgs,
    job: &TestJob<'_>,
    machines: usize,
    policy: &Policy,
) -> Result<Ending, Fault> {
    let unannounced = AtomicBool::new(false);
    let announce = |machine: &Machine| {
        announce(session, args, machine).inspect_err(|_| unannounced.store(true, Ordering::Relaxed))
    };
    let begun = || session.detachable();
    let once_begun = if args.detach { OnceBegun::Leave(&announce) } else { OnceBegun::Follow(&begun) };
    let group = Group { site: &session.site, plan: job.plan, order: job.order, machines };
    let foreseen = |subject: &TestSubject| foreseen(session, subject);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let job = ShardsJob {
        runner: job.runner,
        groups: &[group],
        split: Split { policy, foreseen: &foreseen, processors: u32::try_from(processors).unwrap_or(u32::MAX) },
        baking: job.baking,
        clauses: job.clauses,
        fetch: job.fetch,
        limit: job.limit.unwrap_or(TESTS_LIMIT),
        allow_all_skipped: job.allow_all_skipped,
        keep_failed: job.keep_failed,
        mutes: job.mutes,
        began: job.began,
        once_begun,
    };
    let ended = run_shards(&session.run, &job, &session.dir, &session.context.state.builds()).await?;
    if unannounced.into_inner() {
        // The fault reports the failed write, with what became of the tests.
        drop(ui::take_write_fault());
    }
    let ending = conclude_shards(session, &args.reports, ended).await?;
    Ok(if args.detach { accept_detach(ending) } else { ending })
}

/// What tests took in earlier runs, seconds; nothing where that cannot be read, which is told.
fn foreseen(session: &Session, subject: &TestSubject) -> BTreeMap<TestName, f64> {
    let known = session.context.state.history().read(&history_key(session, subject)).unwrap_or_else(|fault| {
        session.run.tell(TroubleEvent::from(&fault));
        BTreeMap::new()
    });
    known.into_iter().map(|(test, took)| (test, took.as_secs_f64())).collect()
}

/// Prints the run's id, or JSON, for `--detach`, while the tests can still be cancelled where that fails.
fn announce(session: &Session, args: &TestArgs, machine: &Machine) -> Result<(), Fault> {
    let screen = &session.context.screen;
    let printed = match args.reports.json {
        true => screen.try_json(&Detached { id: session.id(), machine: &machine.id, expires_at: machine.expires_at }),
        false => screen.try_data(&format!("{}\n", session.id())),
    };
    printed.map_err(|error| {
        ui::unwritten_fault(error)
            .hint("Nobody would know the run's id, so its tests were cancelled and its machine released.")
    })
}

/// The ending of a run that was asked to detach: to leave before the tests end is a success then.
fn accept_detach(ending: Ending) -> Ending {
    if ending.detached.is_empty() {
        return ending;
    }
    // A machine whose lease could not be extended ends too early: that is not a success.
    let kept = ending.detached.iter().all(|machine| machine.kept);
    let code = if kept { error::exit::OK } else { error::exit::INFRASTRUCTURE };
    Ending { code, ..ending }
}
