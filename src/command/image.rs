//! `automation image list|build|gc|show`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::base::text;
use crate::command::context::Context;
use crate::command::session::{Ending, Session};
use crate::flow::bake::{Options, bake};
use crate::model::event::{Event, Sink};
use crate::model::fault::Fault;
use crate::model::image::{Fingerprint, ImagePlan, ImageRecord, LayerRecord};
use crate::ui::table;

/// Subcommands of `image`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the images that are there, newest first
    List(ListArgs),
    /// Bake one image where it is missing
    Build(BuildArgs),
    /// Show one image and its layers
    Show(ShowArgs),
    /// Remove images that no longer match their definition, and layers that no image uses
    Gc(GcArgs),
}

/// `image list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What every baking command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct BakeArgs {
    /// Leave the machine of a failed step for a look, for two hours
    #[arg(long)]
    keep_failed: bool,
    /// Print the images as JSON
    #[arg(long)]
    pub json: bool,
}

/// `image build`.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// The image's definition
    #[arg(default_value = "linux-dev")]
    name: String,
    /// The distribution [default: debian12, or the settings' `defaults.distro`]
    #[arg(long)]
    distro: Option<String>,
    /// The Python to carry beside the system's
    #[arg(long, value_name = "VERSION")]
    python_version: Option<String>,
    #[command(flatten)]
    bake: BakeArgs,
}

/// `image show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The image's name, or the first digits of its fingerprint
    image: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `image gc`.
#[derive(Debug, clap::Args)]
pub struct GcArgs {
    /// Remove every image, also those that match their definition
    #[arg(long)]
    all: bool,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The command that bakes one image.
const BUILD: &str = "image build";

/// How long a baking machine may live, and a failed one stays when kept: the original's longest bake took 40 minutes.
pub const BAKE_EXPIRY: Duration = Duration::from_secs(2 * 3600);

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a Fingerprint,
    bytes: u64,
    #[serde(flatten)]
    record: &'a ImageRecord,
}

impl<'a> Shown<'a> {
    fn new(record: &'a ImageRecord) -> Self {
        Self { id: &record.fingerprint, bytes: record.layers.iter().map(|layer| layer.bytes).sum(), record }
    }
}

impl Command {
    /// Runs it.
    pub async fn run(self, context: Context) -> Result<i32, Fault> {
        match self {
            Self::List(args) => list(&context, &args).await,
            Self::Show(args) => show(&context, &args).await,
            Self::Gc(args) => gc(&context, &args).await,
            Self::Build(args) => {
                let definition = context.definition(&args.name)?;
                let distro = args.distro.unwrap_or_else(|| context.settings.defaults.distro.clone());
                let plan = definition.plan(&context.choice(&distro, args.python_version.as_deref())?)?;
                bake_all(context, BUILD, vec![plan], false, args.bake).await
            }
        }
    }
}

async fn list(context: &Context, args: &ListArgs) -> Result<i32, Fault> {
    let records = context.images()?.list().await?;
    if args.json {
        context.screen.json(&records.iter().map(Shown::new).collect::<Vec<_>>());
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            vec![
                record.name.clone(),
                record.fingerprint.short().to_owned(),
                text::bytes(Shown::new(record).bytes),
                record.created_at.to_string(),
            ]
        })
        .collect();
    context.screen.data(&table::render(&["NAME", "FINGERPRINT", "SIZE", "MADE"], &rows));
    Ok(0)
}

async fn show(context: &Context, args: &ShowArgs) -> Result<i32, Fault> {
    let records = context.images()?.list().await?;
    let record = records
        .iter()
        .find(|r| r.name == args.image || (args.image.len() >= 4 && r.fingerprint.0.starts_with(&args.image)))
        .ok_or_else(|| {
            let names: BTreeSet<&str> = records.iter().map(|r| r.name.as_str()).collect();
            let known = if names.is_empty() { "none".to_owned() } else { Vec::from_iter(names).join(", ") };
            Fault::usage(format!("no image `{}` (there are: {known})", args.image))
        })?;
    if args.json {
        context.screen.json(&Shown::new(record));
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = record
        .layers
        .iter()
        .map(|layer| {
            let took = text::seconds(Duration::from_secs(layer.seconds));
            vec![layer.name.clone(), layer.fingerprint.short().to_owned(), text::bytes(layer.bytes), took]
        })
        .collect();
    context.screen.data(&format!(
        "{} {}\nmade {}\n\n{}",
        record.name,
        record.fingerprint,
        record.created_at,
        table::render(&["LAYER", "FINGERPRINT", "SIZE", "TOOK"], &rows)
    ));
    Ok(0)
}

/// What `image gc` does: decided from what is there, without I/O. `current` are the layers of every image that today's
/// definitions give, also of those that are not finished: a bake that is under way, or that failed, goes on from them.
fn plan_gc(
    records: &[ImageRecord],
    layers: &[LayerRecord],
    current: &BTreeSet<Fingerprint>,
    all: bool,
) -> (Vec<ImageRecord>, Vec<LayerRecord>) {
    let (keep, drop): (Vec<_>, Vec<_>) =
        records.iter().cloned().partition(|record| !all && current.contains(&record.fingerprint));
    let mut used: BTreeSet<&Fingerprint> = keep.iter().flat_map(|r| r.layers.iter().map(|l| &l.fingerprint)).collect();
    if !all {
        used.extend(current);
    }
    let unused = layers.iter().filter(|layer| !used.contains(&layer.fingerprint)).cloned().collect();
    (drop, unused)
}

#[derive(Serialize)]
struct Collected {
    id: Fingerprint,
    kind: &'static str,
    name: String,
    bytes: Option<u64>,
    fate: String,
}

async fn gc(context: &Context, args: &GcArgs) -> Result<i32, Fault> {
    let store = context.images()?;
    let (records, mut layers) = (store.list().await?, store.layers().await?);
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.created_at));
    let current = context.current_layers()?;
    let (images, unused) = plan_gc(&records, &layers, &current, args.all);
    let mut done = Vec::new();
    let swept = store.sweep(args.dry_run).await?;
    if swept > 0 {
        let fate = fate(Ok(()), args.dry_run);
        context.screen.message(&format!("Layers of an earlier removal that was cut off: {swept} {fate}"));
    }
    for image in images {
        let removed = if args.dry_run { Ok(()) } else { store.remove_image(&image.fingerprint).await };
        let fate = fate(removed, args.dry_run);
        done.push(Collected { id: image.fingerprint, kind: "image", name: image.name, bytes: None, fate });
    }
    for layer in unused {
        let removed = if args.dry_run { Ok(()) } else { store.remove_layer(&layer.fingerprint).await };
        let fate = fate(removed, args.dry_run);
        done.push(Collected { id: layer.fingerprint, kind: "layer", name: layer.name, bytes: Some(layer.bytes), fate });
    }
    if args.json {
        context.screen.json(&done);
    } else if done.is_empty() && swept == 0 {
        context.screen.message("Nothing to collect.");
    } else if !done.is_empty() {
        let rows: Vec<Vec<String>> = done
            .iter()
            .map(|c| {
                let size = c.bytes.map(text::bytes).unwrap_or_default();
                vec![c.kind.to_owned(), c.name.clone(), c.id.short().to_owned(), size, c.fate.clone()]
            })
            .collect();
        context.screen.data(&table::render(&["KIND", "NAME", "FINGERPRINT", "SIZE", "FATE"], &rows));
    }
    Ok(0)
}

fn fate(removed: Result<(), Fault>, dry_run: bool) -> String {
    match removed {
        Ok(()) if dry_run => "would be removed".to_owned(),
        Ok(()) => "removed".to_owned(),
        Err(fault) => format!("stays: {}", fault.chain().join(": ")),
    }
}

/// Puts the image's name before every line of a parallel bake, whose moving steps would overwrite each other.
struct Prefixed {
    name: String,
    inner: Arc<dyn Sink>,
}

impl Sink for Prefixed {
    fn event(&self, event: Event) {
        let event = match event {
            Event::Step(text) => Event::Notice(format!("{text} ...")),
            Event::StepDone { text, seconds } => Event::Notice(format!("{text} ({seconds:.1}s)")),
            Event::Detail(text) => Event::Detail(format!("{}: {text}", self.name)),
            other => other,
        };
        self.inner.event(event);
    }
}

/// Bakes `plans`, one after another or side by side, as one run.
pub async fn bake_all(
    context: Context,
    command: &str,
    plans: Vec<ImagePlan>,
    parallel: bool,
    args: BakeArgs,
) -> Result<i32, Fault> {
    let store = context.images()?;
    let session = Session::begin(context, command)?;
    let options = Options { keep_failed: args.keep_failed, expiry: BAKE_EXPIRY };
    let mut results = Vec::new();
    if parallel {
        let bakes = plans.iter().map(|plan| {
            let mut stage = session.stage.clone();
            stage.sink = Arc::new(Prefixed { name: plan.name.clone(), inner: Arc::clone(&session.stage.sink) });
            let (store, options) = (Arc::clone(&store), options.clone());
            async move { bake(&stage, store.as_ref(), plan, &options).await }
        });
        results = futures_util::future::join_all(bakes).await;
    } else {
        for plan in &plans {
            let result = bake(&session.stage, store.as_ref(), plan, &options).await;
            let stop = result.is_err() && session.stage.stop.is_cancelled();
            results.push(result);
            if stop {
                break;
            }
        }
    }
    let ending = conclude(&session, results, args.json, command == BUILD);
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
    let shown: Vec<Shown<'_>> = made.iter().map(Shown::new).collect();
    match (json, one) {
        (false, _) => {}
        // A verb that makes one thing prints that object, nothing where it could not be made.
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
            Ok(Ending { code: 0, summary })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(digit: char) -> LayerRecord {
        let made: jiff::Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
        let fingerprint = Fingerprint(digit.to_string().repeat(64));
        LayerRecord { name: format!("step-{digit}"), fingerprint, created_at: made, seconds: 1, bytes: 10 }
    }

    fn image(layers: &[char]) -> ImageRecord {
        let layers: Vec<_> = layers.iter().map(|d| layer(*d)).collect();
        ImageRecord {
            name: "i".into(),
            distro: "d".into(),
            fingerprint: layers.last().unwrap().fingerprint.clone(),
            created_at: layers[0].created_at,
            layers,
        }
    }

    #[test]
    fn a_layer_stays_while_an_image_that_stays_uses_it() {
        let (old, new) = (image(&['a', 'b']), image(&['a', 'c']));
        let layers = [layer('a'), layer('b'), layer('c'), layer('d')];
        let current = BTreeSet::from([layer('a').fingerprint, new.fingerprint.clone()]);
        let (images, unused) = plan_gc(&[old.clone(), new], &layers, &current, false);
        assert_eq!(images, [old]);
        assert_eq!(unused.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["step-b", "step-d"]);
        let (images, unused) = plan_gc(&[], &layers, &current, false);
        assert_eq!((images.len(), unused.len()), (0, 2), "layers of an image that is not finished stay");
        let (images, unused) = plan_gc(&[image(&['a', 'c'])], &layers, &current, true);
        assert_eq!((images.len(), unused.len()), (1, 4));
    }
}
