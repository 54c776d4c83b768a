//! `automation image rm`.

use flow::image::remove::{Removal, prepare, remove};
use flow::site::Sites;
use model::base::text::{self, pluralize};
use model::fault::Fault;
use model::image::ImageRecord;
use model::machine::ProviderKind;

use crate::command::ec2::args::AnyOwnerArg;
use crate::command::error::exit;
use crate::command::image::gc::{CollectedRow, show};
use crate::command::image::{is_called, unknown, whole_name};
use crate::compose::Context;
use crate::ui::confirm;

/// The options of `image rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The images, by what `image list` shows: a name means every image of that name, the first digits of a fingerprint one, the name of a
    /// definition that of the usual distribution
    #[arg(required = true, value_name = "NAME")]
    named: Vec<String>,
    #[command(flatten)]
    any_owner: AnyOwnerArg,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Remove without asking
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Removes the images that are named, with what belongs to them alone.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let provider = context.default_provider()?;
    if args.any_owner.is_given() && provider != ProviderKind::Ec2 {
        return Err(Fault::usage(format!("`--any-owner` has no meaning with `--provider {}`", provider.name())));
    }
    let asks = !args.yes && !args.dry_run;
    if asks && !confirm::can_ask() {
        return Err(Fault::usage("there is no terminal on which to ask whether images are to be removed")
            .hint("`--dry-run` lists what would be removed; `--yes` removes it without asking."));
    }
    let images = context.sites.images(provider);
    let (store, builds) = (images.store().await?, context.state.builds());
    let records = store.list().await?;
    let named = args.named.iter().map(|word| whole_name(context, &records, word)).collect::<Result<Vec<_>, _>>()?;
    let named = choose(records, &named)?;
    let owner = (!args.any_owner.is_given()).then_some(context.owner.as_str());
    let removal = prepare(store, &builds, named, owner).await?;
    if asks && !confirm::confirm(&format!("Remove {}?", describe(&removal))) {
        context.screen.message("Nothing was removed.");
        return Ok(exit::OK);
    }
    let done = remove(store, &builds, removal, args.dry_run).await;
    let rows: Vec<CollectedRow> = done.collected.into_iter().map(|one| CollectedRow::new(one, args.dry_run)).collect();
    show(context, &rows, args.json);
    done.left.map_or(Ok(exit::OK), Err)
}

/// The images that `words` name, each once, in the order of `records`.
fn choose(records: Vec<ImageRecord>, words: &[String]) -> Result<Vec<ImageRecord>, Fault> {
    for word in words {
        let mut called = records.iter().filter(|record| is_called(record, word));
        let Some(first) = called.next() else { return Err(unknown(&records, word)) };
        if called.any(|other| other.name != first.name) {
            return Err(Fault::usage(format!("`{word}` names more than one image"))
                .hint("Give more digits of the fingerprint; `automation image list` shows them."));
        }
    }
    Ok(records.into_iter().filter(|record| words.iter().any(|word| is_called(record, word))).collect())
}

/// What goes, in words.
fn describe(removal: &Removal) -> String {
    let name = |image: &ImageRecord| format!("{} {}", image.name, image.fingerprint.short());
    let images: Vec<String> = removal.images.iter().map(name).collect();
    let bytes: u64 = removal.layers.iter().map(|layer| layer.bytes).sum::<u64>()
        + removal.builds.iter().map(|build| build.bytes).sum::<u64>();
    let (layers, builds) = (pluralize(removal.layers.len(), "layer"), pluralize(removal.builds.len(), "build"));
    format!("{} with {layers} and {builds} of theirs alone ({})", images.join(", "), text::bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use model::image::Fingerprint;

    fn record(name: &str, fingerprint: &str) -> ImageRecord {
        ImageRecord {
            name: name.to_owned(),
            distro: "debian12".into(),
            fingerprint: Fingerprint(fingerprint.repeat(16)),
            layers: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            owner: None,
            locator: None,
            snapshot: None,
        }
    }

    #[test]
    fn a_name_means_all_of_that_name_and_digits_one_image() {
        let all = || vec![record("x", "abc1"), record("x", "abc2"), record("y", "abc1")];
        let chosen = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            choose(all(), &words).map(|found| found.iter().map(|one| one.fingerprint.0[..4].to_owned()).collect())
        };
        let found = |words: &[&str]| -> Vec<String> { chosen(words).unwrap() };
        assert_eq!(found(&["x"]), ["abc1", "abc2"]);
        assert_eq!(found(&["abc2", "x"]), ["abc1", "abc2"], "each once");
        assert_eq!(found(&["abc2"]), ["abc2"]);
        let refused = |words: &[&str]| -> String {
            let chosen: Result<Vec<String>, Fault> = chosen(words);
            chosen.unwrap_err().message
        };
        assert!(refused(&["abc1"]).contains("more than one"));
        assert!(refused(&["x", "z"]).contains("no image `z`"));
    }
}
