//! `automation demo`: the whole of what the tool does, in a minute and with nothing at hand.

use std::time::Duration;

use flow::order::Order;
use flow::site::Sites;
use flow::testing::TestTerms;
use flow::testing::shards::Policy;
use flow::transfer::artifacts::Fetch;
use jiff::Timestamp;
use model::base::id::RunId;
use model::base::{clock, text};
use model::fault::Fault;
use model::image::ImagePlan;
use model::journal::ResourceFilter;
use model::machine::ProviderKind;
use model::matrix::Point;
use model::resource::{Resource, ResourceState};
use project::PATIENCE;
use project::declared::{self, DeclaredTests};
use project::demo;
use project::file;
use project::image::ImageChoice;
use project::source::Source;

use crate::command::error::exit;
use crate::command::session::{Ending, Session};
use crate::command::split_tests::drive_cells;
use crate::command::test_args::{ResolvedCell, ResolvedGroup, TestArgs};
use crate::command::testing::Reports;
use crate::compose::Context;
use crate::globals::Globals;
use crate::ui::table;

/// The command's name in the journal.
pub const DEMO: &str = "demo";

/// The options of `automation demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// The definition that is made the quickest.
const IMAGE: &str = "bare";

/// A machine for each of the two tests.
const MACHINES: usize = 2;

/// How long a machine lives at most: its test takes a second, on a busy computer some more.
const LIFETIME: Duration = Duration::from_secs(600);

/// The folder of the tests in that of the run.
const PROJECT: &str = "project";

/// What to type after it, and why.
const NEXT: [(&str, &str); 3] = [
    ("run -- make check", "any command in the files of the folder that you stand in"),
    ("init", "a file with the commands and tests of your project"),
    ("runs report latest --open", "this run as a page"),
];

/// Runs it.
pub async fn run(context: Context, globals: &Globals, args: Args) -> Result<i32, Fault> {
    if globals.provider.as_ref().is_some_and(|name| name != ProviderKind::Local.name()) {
        return Err(Fault::usage("`demo` makes machines of this computer alone").hint("Leave `--provider` out."));
    }
    let context = context.on(ProviderKind::Local);
    context.require_ssh()?;
    require_machines(&context).await?;
    let plan = plan(&context)?;
    let began = context.now();
    let session = Session::begin_on(context.on(ProviderKind::Local), DEMO, ProviderKind::Local).await?;
    let id = session.id().clone();
    let result = drive(&session, &plan, args.json).await;
    let code = session.end(result).await?;
    if !args.json {
        show_certificate(&context, &id, began)?;
        show_rest(&context, &plan, began).await?;
        if code == exit::OK {
            show_next(&context);
        }
    }
    Ok(code)
}

/// Fails where this computer cannot have machines, by what `doctor` looks at.
async fn require_machines(context: &Context) -> Result<(), Fault> {
    let checks = context.sites.doctor().await?;
    let lacking: Vec<_> = checks.iter().filter(|check| check.required && !check.ok).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let found: Vec<String> = lacking.iter().map(|check| format!("{}: {}", check.name, check.found)).collect();
    let remedies: Vec<&str> = lacking.iter().filter_map(|check| check.remedy.as_deref()).collect();
    let doctor = context.to_type("doctor");
    Err(Fault::outside("this computer cannot have machines as it is")
        .because(found.join("\n"))
        .hint(format!("{} `{doctor}` shows every check; nothing was made.", remedies.join(" "))))
}

fn plan(context: &Context) -> Result<ImagePlan, Fault> {
    let definition = context.definition(IMAGE)?;
    let distro = definition.distro_for(None, &context.settings.defaults.distro);
    definition.plan(&ImageChoice::new(context.base_choice()?, distro))
}

/// Runs the tests, as any others are run that are split over machines.
async fn drive(session: &Session, plan: &ImagePlan, json: bool) -> Result<Ending, Fault> {
    let folder = session.dir.path().join(PROJECT);
    demo::write(&folder)?;
    let (declaration, _) = declared::load_suite(&folder.join(file::NAME), demo::SUITE)?;
    let source = Source::find(&folder).await?;
    let limit = declaration.limit;
    let runner =
        DeclaredTests { declaration, tests: Vec::new(), source: Some(source), patience: PATIENCE, again: false };
    let order = Order::new(session.context.sites.there(), "hg", LIFETIME, session.context.grace());
    let order = order.boot_from(plan, plan.layers.len());
    let group = ResolvedGroup { kind: ProviderKind::Local, machines: MACHINES, plan: Some(plan.clone()), order };
    let cell = ResolvedCell { point: Point::default(), runner: Box::new(runner), groups: vec![group] };
    let args = TestArgs::of(limit, Reports { junit: None, json });
    let fetch = Fetch::default();
    let terms = TestTerms { clauses: &[], fetch: &fetch, allow_all_skipped: false, keep_failed: None, mutes: &[] };
    drive_cells(session, &args, &[cell], terms, &Policy::default()).await
}

/// Shows what was made, and when it was seen gone.
fn show_certificate(context: &Context, run: &RunId, began: Timestamp) -> Result<(), Fault> {
    let made = context.journal.resources(&ResourceFilter { run: Some(run.clone()), ..ResourceFilter::default() })?;
    if made.is_empty() {
        return Ok(());
    }
    let after = |at: Timestamp| format!("after {}", text::seconds(clock::since(began, at)));
    let row = |row: &Resource| {
        let gone = match (row.state, row.gone_at) {
            (ResourceState::Kept, _) => "kept".to_owned(),
            (_, Some(at)) => after(at),
            (_, None) => "not yet".to_owned(),
        };
        vec![row.kind.name().to_owned(), row.name.clone(), after(row.planned_at), gone]
    };
    let rows: Vec<Vec<String>> = made.iter().map(row).collect();
    let table = table::render(&["KIND", "NAME", "MADE", "SEEN GONE"], 1, &rows);
    context.screen.data(&format!("\nThe certificate of the run, all that it made:\n\n{table}"));
    Ok(())
}

/// Says what stays.
async fn show_rest(context: &Context, plan: &ImagePlan, began: Timestamp) -> Result<(), Fault> {
    let images = context.sites.images(ProviderKind::Local);
    let store = images.store().await?;
    let Some(image) = store.record(&plan.fingerprint()).await? else { return Ok(()) };
    let bytes = text::bytes(image.layers.iter().map(|layer| layer.bytes).sum());
    let since = if image.created_at < began { ", which was there before," } else { "" };
    let remove = context.to_type(&format!("image rm {}", image.name));
    context.screen.data(&format!(
        "\nWhat stays is the image `{}`{since} with {bytes} (`{remove}` removes it), and the record of the run.\n",
        image.name
    ));
    Ok(())
}

fn show_next(context: &Context) {
    let lines: Vec<(String, &str)> = NEXT.iter().map(|(words, why)| (context.to_type(words), *why)).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or_default();
    for (at, (line, why)) in lines.iter().enumerate() {
        let head = if at == 0 { "\nNext: " } else { "      " };
        context.screen.data(&format!("{head}{line:width$}   {why}\n"));
    }
}
