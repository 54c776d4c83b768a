//! `automation image list|build|show|rm|gc`.

mod gc;
mod rm;

use std::collections::BTreeSet;
use std::time::Duration;

use flow::image::bake::{BakeOptions, bake_many};
use flow::order::Order;
use flow::site::Sites;
use model::base::text;
use model::fault::{Fault, FaultKind};
use model::image::{Fingerprint, ImagePlan, ImageRecord, Snapshot};
use model::machine::{Hardware, Platform, ProviderKind};
use project::image::ImageChoice;
use serde::Serialize;

use crate::command::ec2::args::CloudArgs;
use crate::command::error::exit;
use crate::command::machine_args::distro_axis;
use crate::command::parameter_args::ParameterArgs;
use crate::command::session::{Ending, Session};
use crate::compose::Context;
use crate::ui::table;

/// Subcommands of `image`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the images that are there, newest first
    List(ListArgs),
    /// Bake one image where it is missing, or one for each of several distributions
    Build(BuildArgs),
    /// Show one image and its layers
    Show(ShowArgs),
    /// Remove images, the layers that no other image uses, and the builds that were made on them
    ///
    /// Refused while a machine uses one of them. Asks first, on a terminal. Builds of what was tested go with their image.
    Rm(rm::Args),
    /// Remove images that no longer match their definition, layers that no image uses, and builds that go with their
    /// image
    Gc(gc::Args),
}

/// `image list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The options of every command that bakes.
#[derive(Debug, Clone, clap::Args)]
pub struct BakeArgs {
    /// Leave the machine of a failed step for a look, for two hours
    #[arg(long)]
    keep_failed: bool,
    #[command(flatten)]
    cloud: CloudArgs,
    /// Print the images as JSON
    #[arg(long)]
    pub json: bool,
}

/// The option of commands that bake on local machines.
#[derive(Debug, Clone, clap::Args)]
pub struct BakeRootArgs {
    /// Bake on local machines whose root is root of this computer. Root only; for kernels that cannot confine root's machines
    #[arg(long)]
    privileged_machine: bool,
}

impl BakeRootArgs {
    /// The context with local machines as they are asked for.
    pub fn apply(&self, context: Context) -> Result<Context, Fault> {
        if self.privileged_machine && context.default_provider()? == ProviderKind::Ec2 {
            return Err(Fault::usage("`--privileged-machine` has no meaning with provider `ec2`"));
        }
        context.privileged(self.privileged_machine)
    }
}

/// `image build`.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// The image's definition, or an image as `image list` calls it
    #[arg(default_value = "linux-dev")]
    name: String,
    /// The distribution, or several with commas between them [default: debian12, or the settings' `defaults.distro`, or the only one of the
    /// definition]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    distro: Vec<String>,
    #[command(flatten)]
    parameters: ParameterArgs<false>,
    #[command(flatten)]
    root: BakeRootArgs,
    #[command(flatten)]
    bake: BakeArgs,
}

/// `image show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The image's name, that of its definition for the usual distribution, or the first digits of its fingerprint
    image: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The command that bakes one image, or a few.
const BUILD: &str = "image build";

/// How long a baking machine may live, and how long a failed one is kept: the longest bake of the original tool took 40
/// minutes. The steps of another system install compilers, which have taken an hour alone.
fn bake_expiry(platform: Platform) -> Duration {
    let hours = if platform == Platform::default() { 2 } else { 4 };
    Duration::from_secs(hours * 3600)
}

/// How to bake the image of a machine that is ordered, on the provider's usual hardware and within the order's limit. The machine of a step that fails
/// is kept for so long, where that is wanted.
pub fn baking_for(order: &Order, keep_failed: Option<Duration>) -> BakeOptions {
    let expiry = bake_expiry(order.platform) + keep_failed.unwrap_or_default();
    BakeOptions { keep_failed, expiry, hardware: Hardware::default(), max_cost: order.max_cost }
}

/// An image, as it is shown.
#[derive(Serialize)]
pub(crate) struct ImageRow<'a> {
    id: &'a Fingerprint,
    bytes: u64,
    #[serde(flatten)]
    record: &'a ImageRecord,
}

impl<'a> ImageRow<'a> {
    /// The image with this record.
    pub(crate) fn new(record: &'a ImageRecord) -> Self {
        Self { id: &record.fingerprint, bytes: record.layers.iter().map(|layer| layer.bytes).sum(), record }
    }

    /// What the uppermost layer takes.
    pub(crate) fn bytes_on_top(&self) -> u64 {
        self.record.layers.last().map_or(0, |layer| layer.bytes)
    }
}

impl Command {
    /// Runs it.
    pub async fn run(self, context: Context) -> Result<i32, Fault> {
        match self {
            Self::List(args) => list(&context, &args).await,
            Self::Show(args) => show(&context, &args).await,
            Self::Gc(args) => gc::run(&context, &args).await,
            Self::Rm(args) => rm::run(&context, &args).await,
            Self::Build(args) => {
                let plans = planned(&context, &args).await?;
                bake_all(args.root.apply(context)?, BUILD, plans, false, args.bake).await
            }
        }
    }
}

/// The plans of the images that are to be baked: those of a definition, or where there is none of this name, that of the image which a
/// definition makes and `image list` calls so.
async fn planned(context: &Context, args: &BuildArgs) -> Result<Vec<ImagePlan>, Fault> {
    let fault = match context.definition(&args.name) {
        Ok(definition) => {
            let usual =
                definition.distro_for(args.distro.first().map(String::as_str), &context.settings.defaults.distro);
            let distros = distro_axis(&args.distro)?.map_or_else(|| vec![usual.to_owned()], |axis| axis.values);
            let plan = |distro: &String| definition.plan(&args.parameters.choice(context, &definition, distro)?);
            return distros.iter().map(plan).collect();
        }
        Err(fault) => fault,
    };
    // What is chosen of a definition has no meaning for an image that is named whole.
    if !args.distro.is_empty() || args.parameters.is_given() || fault.kind != FaultKind::Usage {
        return Err(fault);
    }
    if let Some(plan) = context.plan_of_image(&args.name)? {
        return Ok(vec![plan]);
    }
    let records = context.sites.images(context.default_provider()?).store().await?.list().await?;
    match records.iter().find(|record| is_called(record, &args.name)) {
        Some(record) => context.plan_of_image(&record.name)?.map(|plan| vec![plan]).ok_or(fault),
        None => Err(fault),
    }
}

async fn list(context: &Context, args: &ListArgs) -> Result<i32, Fault> {
    let records = context.sites.images(context.default_provider()?).store().await?.list().await?;
    if args.json {
        context.screen.json(&records.iter().map(ImageRow::new).collect::<Vec<_>>());
        return Ok(exit::OK);
    }
    // Only images outside of this computer have an owner and an id of the provider's.
    let shared = records.iter().any(|record| record.locator.is_some());
    let mut heads = vec!["NAME", "FINGERPRINT", "SIZE", "AGE"];
    if shared {
        heads.extend(["OWNER", "ID"]);
    }
    let has_snapshots = records.iter().any(|record| record.snapshot.is_some());
    if has_snapshots {
        heads.push("SNAPSHOT OF");
    }
    let row = |record: &ImageRecord| {
        let (size, made) = (text::bytes(ImageRow::new(record).bytes), text::ago(record.created_at, context.now()));
        let mut row = vec![record.name.clone(), record.fingerprint.short().to_owned(), size, made];
        if shared {
            row.extend([&record.owner, &record.locator].map(|word| word.clone().unwrap_or_default()));
        }
        if has_snapshots {
            let of = |snapshot: &Snapshot| format!("{} ({})", snapshot.machine, snapshot.image);
            row.push(record.snapshot.as_ref().map(of).unwrap_or_default());
        }
        row
    };
    let rows: Vec<Vec<String>> = records.iter().map(row).collect();
    context.screen.data(&table::render(&heads, 0, &rows));
    Ok(exit::OK)
}

/// Whether `word` names this image: by its name, with or without the prefix that the account's console shows, by the
/// provider's id, or by the first digits of its fingerprint.
pub(crate) fn is_called(record: &ImageRecord, word: &str) -> bool {
    record.name == word.strip_prefix("hg-").unwrap_or(word)
        || record.locator.as_deref() == Some(word)
        || (word.len() >= 4 && record.fingerprint.0.starts_with(word))
}

/// What `word` names among `records`: the word itself, or where none of them is called so and a definition is, its image of the usual
/// distribution.
fn whole_name(context: &Context, records: &[ImageRecord], word: &str) -> Result<String, Fault> {
    if records.iter().any(|record| is_called(record, word)) || !context.definition_names()?.iter().any(|it| it == word)
    {
        return Ok(word.to_owned());
    }
    let definition = context.definition(word)?;
    let distro = definition.distro_for(None, &context.settings.defaults.distro);
    let mut choice = ImageChoice::new(context.base_choice()?, distro);
    choice.values = context.values(definition.parameters(), false);
    Ok(definition.plan(&choice)?.name)
}

/// The fault of a word that names none of `records`.
fn unknown(records: &[ImageRecord], word: &str) -> Fault {
    let names: BTreeSet<&str> = records.iter().map(|r| r.name.as_str()).collect();
    let known = if names.is_empty() { "none".to_owned() } else { Vec::from_iter(names).join(", ") };
    Fault::usage(format!("no image `{word}` (there are: {known})"))
        .hint("`automation image list` shows the images there are, `automation image build` makes one.")
}

async fn show(context: &Context, args: &ShowArgs) -> Result<i32, Fault> {
    let records = context.sites.images(context.default_provider()?).store().await?.list().await?;
    let name = whole_name(context, &records, &args.image)?;
    let found = records.iter().find(|record| is_called(record, &name));
    let record = found.ok_or_else(|| unknown(&records, &name))?;
    if args.json {
        context.screen.json(&ImageRow::new(record));
        return Ok(exit::OK);
    }
    let rows: Vec<Vec<String>> = record
        .layers
        .iter()
        .map(|layer| {
            let took = text::seconds(Duration::from_secs(layer.seconds));
            vec![layer.name.clone(), layer.fingerprint.short().to_owned(), text::bytes(layer.bytes), took]
        })
        .collect();
    let id = record.locator.as_ref().map(|id| format!("\nid {id}")).unwrap_or_default();
    let owner = record.owner.as_ref().map(|owner| format!(" by {owner}")).unwrap_or_default();
    let of = |snapshot: &Snapshot| format!(", the state of {}, which booted {}", snapshot.machine, snapshot.image);
    let of = record.snapshot.as_ref().map(of).unwrap_or_default();
    context.screen.data(&format!(
        "{} {}{id}\nmade {:.0}{owner}{of}\n\n{}",
        record.name,
        record.fingerprint,
        record.created_at,
        table::render(&["LAYER", "FINGERPRINT", "SIZE", "TOOK"], 0, &rows)
    ));
    Ok(exit::OK)
}

/// Bakes `plans`, one after another or side by side, as one run.
pub async fn bake_all(
    context: Context,
    command: &str,
    plans: Vec<ImagePlan>,
    parallel: bool,
    args: BakeArgs,
) -> Result<i32, Fault> {
    let kind = context.default_provider()?;
    args.cloud.refuse_unfit(&[kind])?;
    context.require_ssh()?;
    let hardware = args.cloud.bake_hardware();
    let session = Session::begin(context, command).await?;
    let expiry = plans.iter().map(|plan| bake_expiry(plan.baked_on)).max().unwrap_or_default();
    let keep_failed = args.keep_failed.then_some(expiry);
    let options = BakeOptions { keep_failed, expiry, hardware, max_cost: args.cloud.max_cost() };
    let beside = if parallel { plans.len() } else { 1 };
    let is_one = command == BUILD && plans.len() == 1;
    let ending = match bake_many(&session.run, &session.site, &plans, beside, &options).await {
        Ok(results) => conclude(&session, results, args.json, is_one),
        Err(fault) => Err(fault),
    };
    session.end(ending).await
}

/// Shows the images that were made and gives the first fault, after every other fault was shown.
fn conclude(
    session: &Session,
    results: Vec<Result<ImageRecord, Fault>>,
    json: bool,
    one: bool,
) -> Result<Ending, Fault> {
    let (mut made, mut faults) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(record) => made.push(record),
            Err(fault) => faults.push(fault),
        }
    }
    let shown: Vec<ImageRow<'_>> = made.iter().map(ImageRow::new).collect();
    match (json, one) {
        (false, _) => {}
        // A command that makes one thing prints that object, and nothing where it could not be made.
        (true, true) => shown.first().into_iter().for_each(|image| session.context.screen.json(image)),
        (true, false) => session.context.screen.json(&shown),
    }
    let mut faults = faults.into_iter();
    let first = faults.next();
    for fault in faults {
        session.context.screen.message(&crate::command::error::render(&fault));
    }
    match first {
        Some(fault) => Err(fault),
        None => {
            let names: Vec<String> =
                made.iter().map(|record| format!("{} {}", record.name, record.fingerprint.short())).collect();
            let summary = format!("ready: {}", names.join(", "));
            session.context.screen.message(&format!("Images {summary}"));
            Ok(Ending { code: 0, summary, detached: Vec::new() })
        }
    }
}
