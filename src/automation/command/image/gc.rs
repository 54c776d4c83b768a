//! `automation image gc`.

use flow::image::collect::{Collected, Fate, Rule, SetUps, What, collect};
use flow::site::Sites;
use jiff::Timestamp;
use model::base::text;
use model::fault::Fault;
use model::image::Fingerprint;
use model::machine::ProviderKind;
use serde::Serialize;

use crate::command::ec2::args::AnyOwnerArg;
use crate::command::error::exit;
use crate::compose::Context;
use crate::ui::table;

/// The options of `image gc`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove every image, also those that match their definition
    #[arg(long, conflicts_with = "keep")]
    all: bool,
    /// Of each name keep this many of the newest, also those that match no definition of today
    /// [default: 2 on EC2, 0 on this computer]
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    #[command(flatten)]
    any_owner: AnyOwnerArg,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How many images of a name stay on EC2 by default: today's and the one before it, for people who have not updated
/// yet.
const KEPT_IN_ACCOUNT: usize = 2;

impl Args {
    fn rule(&self, provider: ProviderKind, me: &str, now: Timestamp) -> Result<Rule, Fault> {
        let shared = provider == ProviderKind::Ec2;
        if self.any_owner.is_given() && !shared {
            return Err(Fault::usage(format!("`--any-owner` has no meaning with `--provider {}`", provider.name())));
        }
        Ok(Rule {
            all: self.all,
            keep: self.keep.unwrap_or(if shared { KEPT_IN_ACCOUNT } else { 0 }),
            owner: (!self.any_owner.is_given()).then(|| me.to_owned()),
            set_ups: Some(SetUps { layer: project::image::SET_UP_LAYER, now }),
        })
    }
}

/// A thing that was collected, as it is shown.
#[derive(Serialize)]
pub(super) struct CollectedRow {
    id: Fingerprint,
    kind: &'static str,
    name: String,
    bytes: Option<u64>,
    fate: String,
}

impl CollectedRow {
    /// The row of a thing; with `dry_run` it is only said what would become of it.
    pub(super) fn new(Collected { what, id, name, bytes, fate }: Collected, dry_run: bool) -> Self {
        let kind = match what {
            What::Image => "image",
            What::Layer => "layer",
            What::Build => "build",
        };
        let fate = match fate {
            Fate::Goes => going(dry_run).to_owned(),
            Fate::InUse(machine) => format!("stays: in use by machine `{machine}`"),
            Fate::Stays(why) => format!("stays: {why}"),
        };
        Self { id, kind, name, bytes, fate }
    }
}

/// What is said of a thing that goes.
fn going(dry_run: bool) -> &'static str {
    if dry_run { "would be removed" } else { "removed" }
}

/// Removes the images, layers and builds that the rule names.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let provider = context.default_provider()?;
    let rule = args.rule(provider, &context.owner, context.now())?;
    let images = context.sites.images(provider);
    let (store, builds) = (images.store().await?, context.state.builds());
    let done = collect(store, &builds, &context.current_layers()?, &rule, args.dry_run).await?;
    if done.swept > 0 {
        let text = "Layers that no record knows, of removals and bakes that were cut off";
        context.screen.message(&format!("{text}: {} {}", done.swept, going(args.dry_run)));
    }
    if done.others > 0 {
        context.screen.message(&format!("Images of other people, which stay: {} (`--any-owner`)", done.others));
    }
    let shown: Vec<CollectedRow> = done.collected.into_iter().map(|one| CollectedRow::new(one, args.dry_run)).collect();
    if !args.json && shown.is_empty() && done.swept == 0 && done.left.is_none() {
        context.screen.message("Nothing to collect.");
    } else {
        show(context, &shown, args.json);
    }
    done.left.map_or(Ok(exit::OK), Err)
}

/// Shows what became of things.
pub(super) fn show(context: &Context, shown: &[CollectedRow], json: bool) {
    if json {
        return context.screen.json(&shown);
    }
    if shown.is_empty() {
        return;
    }
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|one| {
            let size = one.bytes.map(text::bytes).unwrap_or_default();
            vec![one.kind.to_owned(), one.name.clone(), one.id.short().to_owned(), size, one.fate.clone()]
        })
        .collect();
    context.screen.data(&table::render(&["KIND", "NAME", "FINGERPRINT", "SIZE", "FATE"], 1, &rows));
}
