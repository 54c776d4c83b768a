//! The options of every command that runs tests: what they have alike, whatever system the machine has.

use std::path::PathBuf;
use std::time::Duration;

use flow::order::Order;
use model::base::text;
use model::event::TestsEvent;
use model::fault::Fault;
use model::image::ImagePlan;
use model::machine::ProviderKind;
use model::matrix::{Axis, Point};
use model::runner::Runner;
use model::script::ScriptFile;

use crate::command::artifact_args::ArtifactArgs;
use crate::command::machine_args::default_ttl;
use crate::command::matrix_args::{KnownAxis, MatrixArgs};
use crate::command::on_machine_args::OnMachineArgs;
use crate::command::parting_args::PartingArgs;
use crate::command::shard_args::ShardArgs;
use crate::command::testing::Reports;
use crate::command::unfit::{refuse_options, refuse_wait};
use crate::compose::Context;

/// The options of every command that runs tests.
#[derive(Debug, Default, clap::Args)]
pub struct TestArgs {
    /// Say which machines would be made, from what image and at what price, and what would be tested; make nothing
    #[arg(long, conflicts_with = "detach")]
    pub(super) dry_run: bool,
    /// Call a run in which every test was skipped passed
    #[arg(long)]
    pub(super) allow_all_skipped: bool,
    /// A list of tests that are known to fail: they run, and their failures are shown and do not count. In TOML, each entry
    /// `[[mute]]` with `test` (a name; `*` stands for any characters), `expires` (the last day on which it holds) and `reason`
    #[arg(long, value_name = "FILE")]
    pub(super) mute: Option<PathBuf>,
    /// Keep each machine on which a test failed for so long, to look at it; it goes by itself then
    #[arg(long, value_name = "SPAN", value_parser = text::parse_ttl)]
    pub(super) keep_failed: Option<Duration>,
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
    pub(super) detach: bool,
    /// The machine to work on.
    #[command(flatten)]
    pub on: OnMachineArgs,
    /// How the tests are split over machines.
    #[command(flatten)]
    pub(super) shards: ShardArgs,
    /// The choices under which they are repeated.
    #[command(flatten)]
    matrix: MatrixArgs,
    /// The files to bring home.
    #[command(flatten)]
    pub artifacts: ArtifactArgs,
    /// The places to which results go.
    #[command(flatten)]
    pub(super) reports: Reports,
    /// What is waited for at the end.
    #[command(flatten)]
    pub(super) parting: PartingArgs,
}

/// The time that a machine needs before and after its tests: for booting, preparing, bringing the results home.
const AROUND_TESTS: Duration = Duration::from_secs(3600);

impl TestArgs {
    /// Those of a command whose tests are always the same: a limit, the places of the results, and nothing else that was typed.
    pub fn of(limit: Option<Duration>, reports: Reports) -> Self {
        Self { timeout: limit, reports, ..Self::default() }
    }

    /// From which providers the machines of each cell come, and how many of each.
    pub fn groups(&self, context: &Context) -> Result<Vec<(ProviderKind, usize)>, Fault> {
        self.shards.groups(context)
    }

    /// The points of the matrix, whose first axis is `first` where an option of its own names one; see [`MatrixArgs::points`].
    pub fn points(&self, known: &[KnownAxis<'_>], first: Option<Axis>) -> Result<Vec<Point>, Fault> {
        self.matrix.points(known, first)
    }

    /// Whether a matrix was asked for.
    pub fn has_matrix(&self) -> bool {
        self.matrix.is_given()
    }

    /// Refuses options that have no meaning with any of the providers.
    pub fn refuse_unfit(&self, kinds: &[ProviderKind]) -> Result<(), Fault> {
        let given = [("--keep-failed", self.keep_failed.is_some())];
        refuse_options(&given, kinds, |kind| kind != ProviderKind::Host)?;
        refuse_wait(self.wait.is_some(), kinds)
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

/// Machines that are alike, for tests of a command.
pub struct ResolvedGroup {
    /// Where they come from.
    pub kind: ProviderKind,
    /// How many there are; at least one.
    pub machines: usize,
    /// The image; none on machines that somebody else made.
    pub plan: Option<ImagePlan>,
    /// Each of them.
    pub order: Order,
}

/// One cell of a command's tests.
pub struct ResolvedCell {
    /// What was chosen for it; nothing where there is no matrix.
    pub point: Point,
    /// The runner.
    pub runner: Box<dyn Runner>,
    /// Its machines; at least one group.
    pub groups: Vec<ResolvedGroup>,
}

/// Tests that a command runs, with everything about them resolved.
pub struct ResolvedTests<'a> {
    /// The command's name.
    pub command: &'static str,
    /// The cells; at least one.
    pub cells: Vec<ResolvedCell>,
    /// The scripts with the clauses that the tests add to the machine contract.
    pub clauses: &'a [ScriptFile],
    /// What the user should know of them before.
    pub remarks: Vec<TestsEvent>,
}
