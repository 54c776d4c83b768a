//! `automation image gc`.

use std::collections::{BTreeMap, BTreeSet};

use flow::site::Sites;
use model::base::text;
use model::build::BuildStore;
use model::fault::{Fault, FaultKind};
use model::image::{Fingerprint, ImageRecord, LayerRecord};
use model::machine::ProviderKind;
use model::provider::ImageStore;
use serde::Serialize;
use state::builds::Builds;

use crate::command::ec2::args::AnyOwnerArg;
use crate::command::error::exit;
use crate::compose::Context;
use crate::ui::table;

/// Remove images that no longer match their definition, layers that no image uses, and builds that go with their image.
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
    fn rule(&self, provider: ProviderKind, me: &str) -> Result<Rule, Fault> {
        let shared = provider == ProviderKind::Ec2;
        if self.any_owner.is_given() && !shared {
            return Err(Fault::usage(format!("`--any-owner` has no meaning with `--provider {}`", provider.name())));
        }
        Ok(Rule {
            all: self.all,
            keep: self.keep.unwrap_or(if shared { KEPT_IN_ACCOUNT } else { 0 }),
            owner: (!self.any_owner.is_given()).then(|| me.to_owned()),
        })
    }
}

/// The rule by which images are collected.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Whether every image goes.
    all: bool,
    /// How many of the newest stay of each name.
    keep: usize,
    /// Only images of this person, where images have owners at all.
    owner: Option<String>,
}

/// The images and layers to collect.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Images to remove, newest first.
    images: Vec<ImageRecord>,
    /// Layers to remove that no image uses any more.
    layers: Vec<LayerRecord>,
    /// How many images were passed over because they are other people's.
    others: usize,
}

/// Decides what `image gc` removes, without I/O. `current` are the layers of every image that today's definitions give,
/// unfinished images included: a bake that is under way, or that failed, goes on from them.
fn plan(records: &[ImageRecord], layers: &[LayerRecord], current: &BTreeSet<Fingerprint>, rule: &Rule) -> Plan {
    let is_others = |record: &&ImageRecord| match (&rule.owner, &record.locator) {
        // An image of an account that names no owner is not ours to collect either.
        (Some(me), Some(_)) => record.owner.as_ref() != Some(me),
        _ => false,
    };
    let (others, mut mine): (Vec<&ImageRecord>, Vec<&ImageRecord>) = records.iter().partition(is_others);
    mine.sort_by_key(|record| std::cmp::Reverse(record.created_at));
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut keep, mut images) = (others.clone(), Vec::new());
    for record in mine {
        let newer = seen.entry(&record.name).or_default();
        let stays = !rule.all && (*newer < rule.keep || current.contains(&record.fingerprint));
        *newer += 1;
        if stays { keep.push(record) } else { images.push(record.clone()) }
    }
    let mut used: BTreeSet<&Fingerprint> = keep.iter().flat_map(|r| r.layers.iter().map(|l| &l.fingerprint)).collect();
    if !rule.all {
        used.extend(current);
    }
    let layers = layers.iter().filter(|layer| !used.contains(&layer.fingerprint)).cloned().collect();
    Plan { images, layers, others: others.len() }
}

#[derive(Serialize)]
struct Collected {
    id: Fingerprint,
    kind: &'static str,
    name: String,
    bytes: Option<u64>,
    fate: String,
}

impl Collected {
    /// Whether it is an image that was removed, or would be.
    fn goes(&self) -> bool {
        self.kind == "image" && !self.fate.starts_with(STAYS)
    }
}

/// The prefix of the fate of a thing that is not removed.
const STAYS: &str = "stays: ";

/// Removes the images, layers and builds that the rule names.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let provider = context.default_provider()?;
    let rule = args.rule(provider, &context.owner)?;
    let images = context.sites.images(provider);
    let store = images.store().await?;
    let (records, mut layers) = (store.list().await?, store.layers().await?);
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.created_at));
    let plan = plan(&records, &layers, &context.current_layers()?, &rule);
    // A leftover that cannot be removed does not stop the rest, and is reported at the end.
    let (swept, mut left) = match store.sweep(args.dry_run).await {
        Ok(swept) => (swept, None),
        Err(fault) if fault.kind == FaultKind::LeftBehind => (0, Some(fault)),
        Err(fault) => return Err(fault),
    };
    if swept > 0 {
        let fate = fate(Ok(()), args.dry_run);
        let text = "Layers that no record knows, of removals and bakes that were cut off";
        context.screen.message(&format!("{text}: {swept} {fate}"));
    }
    if plan.others > 0 {
        context.screen.message(&format!("Images of other people, which stay: {} (`--any-owner`)", plan.others));
    }
    let mut done = collect(store, plan, args, &mut left).await?;
    let gone: Vec<Fingerprint> = done.iter().filter(|c| c.goes()).map(|c| c.id.clone()).collect();
    done.extend(collect_builds(&context.state.builds(), &gone, args)?);
    if args.json {
        context.screen.json(&done);
    } else if done.is_empty() && swept == 0 && left.is_none() {
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
    left.map_or(Ok(exit::OK), Err)
}

/// Removes the planned images and layers; `left` receives the first fault that left files behind.
async fn collect(
    store: &dyn ImageStore,
    plan: Plan,
    args: &Args,
    left: &mut Option<Fault>,
) -> Result<Vec<Collected>, Fault> {
    let mut done = Vec::new();
    let users = if plan.images.is_empty() { BTreeMap::new() } else { store.users(&plan.images).await? };
    for image in plan.images {
        let fate = match users.get(&image.fingerprint) {
            Some(machine) => format!("{STAYS}in use by machine `{machine}`"),
            None if args.dry_run => fate(Ok(()), true),
            None => fate(store.remove_image(&image.fingerprint, args.any_owner.is_given()).await, false),
        };
        done.push(Collected { id: image.fingerprint, kind: "image", name: image.name, bytes: None, fate });
    }
    for layer in plan.layers {
        let removed = if args.dry_run { Ok(()) } else { store.remove_layer(&layer.fingerprint).await };
        let fate = match removed {
            Err(fault) if fault.kind == FaultKind::LeftBehind => {
                let fate = format!("{STAYS}{}", fault.line());
                *left = left.take().or(Some(fault));
                fate
            }
            removed => fate(removed, args.dry_run),
        };
        done.push(Collected { id: layer.fingerprint, kind: "layer", name: layer.name, bytes: Some(layer.bytes), fate });
    }
    Ok(done)
}

/// Removes builds whose image is `gone`: nothing else can use them.
fn collect_builds(builds: &Builds, gone: &[Fingerprint], args: &Args) -> Result<Vec<Collected>, Fault> {
    let mut done = Vec::new();
    for build in builds.list()?.into_iter().filter(|build| args.all || build.is_of(gone)) {
        let removed = if args.dry_run { Ok(()) } else { builds.remove(&build.key) };
        let fate = fate(removed, args.dry_run);
        let (name, id) = (build.key.clone(), Fingerprint(build.key));
        done.push(Collected { id, kind: "build", name, bytes: Some(build.bytes), fate });
    }
    Ok(done)
}

fn fate(removed: Result<(), Fault>, dry_run: bool) -> String {
    match removed {
        Ok(()) if dry_run => "would be removed".to_owned(),
        Ok(()) => "removed".to_owned(),
        Err(fault) => format!("{STAYS}{}", fault.line()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Rule = Rule { all: false, keep: 0, owner: None };

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
            owner: None,
            locator: None,
        }
    }

    /// An image of an account, made on a day of November.
    fn kept(name: &str, digit: char, owner: Option<&str>, day: u8) -> ImageRecord {
        ImageRecord {
            name: name.into(),
            created_at: format!("2026-11-{day:02}T00:00:00Z").parse().unwrap(),
            owner: owner.map(str::to_owned),
            locator: Some(format!("ami-{digit}")),
            ..image(&[digit])
        }
    }

    fn ids(plan: &Plan) -> Vec<&str> {
        plan.images.iter().filter_map(|image| image.locator.as_deref()).collect()
    }

    #[test]
    fn a_layer_stays_while_an_image_that_stays_uses_it() {
        let (old, new) = (image(&['a', 'b']), image(&['a', 'c']));
        let layers = [layer('a'), layer('b'), layer('c'), layer('d')];
        let current = BTreeSet::from([layer('a').fingerprint, new.fingerprint.clone()]);
        let planned = plan(&[old.clone(), new], &layers, &current, &LOCAL);
        assert_eq!(planned.images, [old]);
        assert_eq!(planned.layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["step-b", "step-d"]);
        let planned = plan(&[], &layers, &current, &LOCAL);
        let counts = (planned.images.len(), planned.layers.len());
        assert_eq!(counts, (0, 2), "layers of an image that is not finished stay");
        let planned = plan(&[image(&['a', 'c'])], &layers, &current, &Rule { all: true, ..LOCAL });
        assert_eq!((planned.images.len(), planned.layers.len()), (1, 4));
    }

    #[test]
    fn of_each_name_the_newest_stay_and_todays_always() {
        let ann = Some("ann@host");
        let records = [
            kept("x", 'a', ann, 1),
            kept("x", 'b', ann, 4),
            kept("x", 'c', ann, 3),
            kept("x", 'd', ann, 2),
            kept("y", 'e', ann, 1),
        ];
        let rule = Rule { all: false, keep: 2, owner: Some("ann@host".into()) };
        assert_eq!(ids(&plan(&records, &[], &BTreeSet::new(), &rule)), ["ami-d", "ami-a"]);
        let current = BTreeSet::from([layer('a').fingerprint]);
        assert_eq!(ids(&plan(&records, &[], &current, &rule)), ["ami-d"], "today's is not the newest");
        assert_eq!(ids(&plan(&records, &[], &current, &Rule { keep: 0, ..rule.clone() })).len(), 4);
        assert_eq!(ids(&plan(&records, &[], &current, &Rule { all: true, ..rule })).len(), 5);
    }

    #[test]
    fn what_other_people_made_is_counted_and_stays() {
        let records =
            [kept("x", 'a', Some("ann@host"), 1), kept("x", 'b', Some("bob@host"), 2), kept("x", 'c', None, 3)];
        let mine = Rule { all: true, keep: 0, owner: Some("ann@host".into()) };
        let planned = plan(&records, &[], &BTreeSet::new(), &mine);
        assert_eq!((ids(&planned), planned.others), (vec!["ami-a"], 2));
        let planned = plan(&records, &[], &BTreeSet::new(), &Rule { owner: None, ..mine });
        assert_eq!((planned.images.len(), planned.others), (3, 0));
    }
}
