//! Removing images that a person names, with what belongs to them alone: layers that no other image uses, builds that were made on
//! them.

use std::collections::BTreeSet;

use model::build::{BuildStore, KeptBuild};
use model::fault::Fault;
use model::image::{Fingerprint, ImageRecord, LayerRecord};
use model::provider::ImageStore;

use crate::image::collect::{self, Collection};

/// Images that are to be removed, and what goes with them.
#[derive(Debug)]
pub struct Removal {
    /// The images, newest first.
    pub images: Vec<ImageRecord>,
    /// The layers that no other image uses, the uppermost first.
    pub layers: Vec<LayerRecord>,
    /// The builds that were made on machines of the images.
    pub builds: Vec<KeptBuild>,
    /// Whose images these are; none for those of anybody.
    owner: Option<String>,
}

/// Decides what goes with `images`, which are among the `records` of all, without I/O: layers of theirs among the stored `layers` that
/// no other image has.
pub(super) fn own_layers(
    images: &[ImageRecord],
    records: &[ImageRecord],
    layers: Vec<LayerRecord>,
) -> Vec<LayerRecord> {
    let of = |record: &ImageRecord| record.layers.iter().map(|layer| layer.fingerprint.clone()).collect::<Vec<_>>();
    let going: BTreeSet<&Fingerprint> = images.iter().map(|image| &image.fingerprint).collect();
    let others = records.iter().filter(|record| !going.contains(&record.fingerprint));
    let used: BTreeSet<Fingerprint> = others.flat_map(of).collect();
    let mine: BTreeSet<Fingerprint> = images.iter().flat_map(of).collect();
    let mut own: Vec<LayerRecord> = layers
        .into_iter()
        .filter(|layer| mine.contains(&layer.fingerprint) && !used.contains(&layer.fingerprint))
        .collect();
    own.sort_by_key(|layer| std::cmp::Reverse(layer.created_at));
    own
}

/// Finds what goes with `images`. Refused where a machine uses one of them, and where one belongs to somebody else than `owner`;
/// nothing has changed then.
pub async fn prepare(
    store: &dyn ImageStore,
    builds: &dyn BuildStore,
    images: Vec<ImageRecord>,
    owner: Option<&str>,
) -> Result<Removal, Fault> {
    if let Some(image) = images.iter().find(|image| collect::is_of_others(image, owner)) {
        let whose = image.owner.as_ref().map_or_else(|| "names no owner".to_owned(), |of| format!("belongs to `{of}`"));
        return Err(
            Fault::usage(format!("the image `{}` {whose}", image.name)).hint("`--any-owner` removes it all the same.")
        );
    }
    let (records, layers) = (store.list().await?, store.layers().await?);
    let users = store.users(&images).await?;
    for image in &images {
        if let Some(machine) = users.get(&image.fingerprint) {
            return Err(Fault::usage(format!("the image `{}` is in use by machine `{machine}`", image.name))
                .hint(format!("End the machine first: `automation machine down {machine}`.")));
        }
        // Where machines boot from layers, the uppermost one is the image's alone, or that of images that hold all of it.
        if layers.iter().any(|layer| layer.fingerprint == image.fingerprint) {
            store.remove_layer(&image.fingerprint, true).await?;
        }
    }
    let going: Vec<Fingerprint> = images.iter().map(|image| image.fingerprint.clone()).collect();
    let builds = builds.list()?.into_iter().filter(|build| build.is_of(&going)).collect();
    let layers = own_layers(&images, &records, layers);
    Ok(Removal { images, layers, builds, owner: owner.map(str::to_owned) })
}

/// Removes what was prepared, or with `dry_run` only lists it.
pub async fn remove(store: &dyn ImageStore, builds: &dyn BuildStore, removal: Removal, dry_run: bool) -> Collection {
    let mut done = Collection::default();
    for image in removal.images {
        done.collected.push(collect::remove_image(store, image, removal.owner.is_none(), dry_run).await);
    }
    collect::remove_layers(store, removal.layers, dry_run, &mut done).await;
    collect::remove_builds(builds, removal.builds, dry_run, &mut done);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(digit: char) -> LayerRecord {
        LayerRecord {
            name: format!("step-{digit}"),
            fingerprint: Fingerprint(digit.to_string().repeat(64)),
            created_at: jiff::Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(digit)),
            seconds: 1,
            bytes: 10,
        }
    }

    fn image(digits: &str) -> ImageRecord {
        let layers: Vec<LayerRecord> = digits.chars().map(layer).collect();
        ImageRecord {
            name: digits.to_owned(),
            distro: "debian12".into(),
            fingerprint: layers.last().unwrap().fingerprint.clone(),
            layers,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            owner: None,
            locator: None,
            snapshot: None,
        }
    }

    fn going(images: &[&str], all: &[&str]) -> String {
        let of = |names: &[&str]| names.iter().map(|name| image(name)).collect::<Vec<_>>();
        let stored = "abcdx".chars().map(layer).collect();
        let own = own_layers(&of(images), &of(all), stored);
        own.iter().map(|layer| layer.name.trim_start_matches("step-").to_owned()).collect()
    }

    #[test]
    fn layers_go_that_no_other_image_has_the_uppermost_first() {
        assert_eq!(going(&["abc"], &["abc", "abd"]), "c");
        assert_eq!(going(&["abc", "abd"], &["abc", "abd"]), "dcba");
        assert_eq!(going(&["ab"], &["ab", "abc"]), "", "an image may stand on all of another");
        assert_eq!(going(&["abc"], &["abc"]), "cba", "a layer of no image is not this one's");
        assert_eq!(going(&["az"], &["az"]), "a", "only what is stored goes");
    }
}
