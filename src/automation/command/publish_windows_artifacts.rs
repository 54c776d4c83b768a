//! `automation publish-windows-artifacts`.

use std::path::PathBuf;
use std::time::Duration;

use flow::publish::{self, Backup, HostFolder, PlacePlan, Places, PublishPlan, Release, Standing};
use flow::site::Sites;
use model::base::text::{bytes, pluralize};
use model::connection::Connection;
use model::fault::Fault;
use model::machine::ProviderKind;
use model::release::{LatestChange, PackageIndex};
use model::work::Work;
use project::mercurial::release::{self, LATEST, LatestWish, ReleaseVersion, Wanted};
use serde::Serialize;

use crate::command::error::exit;
use crate::command::signals;
use crate::compose::{Context, current_folder, publication};
use crate::ui::{confirm, table};

/// The host that serves releases.
const HOST: &str = "mercurial-scm.org";

/// The folder there.
const FOLDER: &str = "/var/www/release/windows";

/// How long connecting to the host may take.
const CONNECT: Duration = Duration::from_secs(60);

/// The options of `automation publish-windows-artifacts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The version, as its tag is called: `7.2.4`
    version: String,
    /// The folder with the wheels and installers; the old `latest.dat` is kept there
    #[arg(long, value_name = "DIR", default_value = "dist")]
    dist: PathBuf,
    /// The source that says which wheels the version has: a checkout with its tag, or an unpacked release [default: the one
    /// around the present folder]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Upload no wheels to the package index
    #[arg(long, conflicts_with = "no_mercurial_scm_org")]
    no_pypi: bool,
    /// Send nothing to the host of the releases, and need no installers
    #[arg(long)]
    no_mercurial_scm_org: bool,
    /// Where the package index takes files
    #[arg(long, value_name = "URL", default_value = publication::REPOSITORY)]
    repository_url: String,
    /// Where the package index lists files [default: beside or below the repository]
    #[arg(long, value_name = "URL")]
    index_url: Option<String>,
    /// The host of the releases [default: mercurial-scm.org]
    #[arg(id = "host", long = "host", value_name = "[USER@]HOST[:PORT]")]
    host: Option<String>,
    /// Who logs in there [default: you]
    #[arg(long, value_name = "NAME")]
    ssh_username: Option<String>,
    /// The folder there
    #[arg(long, value_name = "DIR", default_value = FOLDER, value_parser = parse_folder)]
    folder: String,
    /// Whether `latest.dat` is written: `auto` where the version is a release newer than what the file names
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = parse_latest)]
    latest: LatestWish,
    /// Look at everything, and only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_latest(text: &str) -> Result<LatestWish, String> {
    match text {
        "auto" => Ok(LatestWish::Auto),
        "always" => Ok(LatestWish::Write),
        "keep" => Ok(LatestWish::Keep),
        _ => Err("it is `auto`, `always` or `keep`".to_owned()),
    }
}

fn parse_folder(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("a folder has a name".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// The folder without slashes at its end, so that names can be put behind it.
fn folder(named: &str) -> String {
    let folder = named.trim_end_matches('/');
    if folder.is_empty() { "/".to_owned() } else { folder.to_owned() }
}

/// What was done, or would be.
#[derive(Serialize)]
struct Summary {
    id: String,
    dry_run: bool,
    /// Where it was read which wheels the version has.
    source: String,
    index: Option<PlaceSummary>,
    host: Option<PlaceSummary>,
    latest: Option<LatestSummary>,
}

/// What came to one place.
#[derive(Serialize)]
struct PlaceSummary {
    place: String,
    files: Vec<FileSummary>,
}

#[derive(Serialize)]
struct FileSummary {
    name: String,
    size: u64,
    sha256: String,
    fate: &'static str,
}

#[derive(Serialize)]
struct LatestSummary {
    fate: &'static str,
    /// Why it stays.
    reason: Option<String>,
    /// Where its old content is kept.
    backup: Option<PathBuf>,
}

/// Publishes.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let version = ReleaseVersion::parse(&args.version)?;
    let index = match args.no_pypi {
        true => None,
        false => Some(context.package_index(&args.repository_url, args.index_url.as_deref())?),
    };
    let (release, source) = check_files(&context, &args, &version).await?;
    let again = "The same command again sends only what is missing; nothing is there half-way.";
    let publishing = async {
        let held = connect(&context, &args).await?;
        let done = publish(&context, &args, &version, (&release, source), (index.as_deref(), held.as_ref())).await;
        if let Some((connection, _)) = &held {
            connection.close().await;
        }
        done
    };
    signals::until_signal(publishing, again).await
}

/// Finds the files of the release and checks them; gives also where it was read which there must be.
async fn check_files(context: &Context, args: &Args, version: &ReleaseVersion) -> Result<(Release, String), Fault> {
    let source = release::find_source(args.source.as_deref(), &current_folder()?, version).await?;
    let work = Work::CheckingRelease { version: version.as_str().to_owned(), from: args.dist.display().to_string() };
    let step = context.teller().begin(work);
    let (of, folder, installers) = (version.clone(), args.dist.clone(), !args.no_mercurial_scm_org);
    let checking = tokio::task::spawn_blocking(move || {
        release::collect(&Wanted { version: &of, build_file: &source.build_file, installers }, &folder)
            .map(|files| (files, source.words))
    });
    let checked = checking.await.map_err(|error| Fault::outside("the files could not be checked").because(error))?;
    let (files, words) = checked?;
    step.finish();
    context.screen.message(&format!("Which wheels there are was read from {words}."));
    Ok((Release { project: release::PROJECT.to_owned(), version: version.as_str().to_owned(), files }, words))
}

/// A connection to the host, and its name.
type HeldHost = (Box<dyn Connection>, String);

async fn connect(context: &Context, args: &Args) -> Result<Option<HeldHost>, Fault> {
    if args.no_mercurial_scm_org {
        return Ok(None);
    }
    let target = args.host.as_deref().unwrap_or(HOST);
    let machine = context.release_host(target, args.ssh_username.as_deref())?;
    let connector = context.sites.connector(ProviderKind::Host).await?;
    let connection = connector.connect(&machine, &machine.user, CONNECT, false).await?;
    Ok(Some((connection, format!("{}@{}", machine.user, machine.address))))
}

/// Compares, asks, sends.
async fn publish(
    context: &Context,
    args: &Args,
    version: &ReleaseVersion,
    (release, source): (&Release, String),
    (index, held): (Option<&dyn PackageIndex>, Option<&HeldHost>),
) -> Result<i32, Fault> {
    let change = |old: Option<&str>| release::latest_change(version, old, args.latest);
    let folder = folder(&args.folder);
    let host = held.map(|(connection, name)| HostFolder {
        connection: connection.as_ref(),
        place: format!("{name}:{folder}"),
        folder,
        latest: LATEST.to_owned(),
        change: &change,
    });
    let places = Places { index, host };
    let step = context.teller().begin(Work::ComparingRelease { version: release.version.clone() });
    let plan = publish::compare(&places, release).await?;
    step.finish();
    let backup = Backup { path: args.dist.join(release::latest_backup(context.now())) };
    let mut summary = summarise(release, &plan, source, &backup);
    if args.dry_run || plan.is_done() {
        summary.dry_run = args.dry_run;
        show(context, args, &summary);
        return Ok(exit::OK);
    }
    if let Some(index) = index.filter(|_| plan.index.as_ref().is_some_and(|plan| plan.missing().next().is_some())) {
        index.check_credentials()?;
    }
    if !allowed(context, args, release, &plan).await? {
        context.screen.message("Nothing was published.");
        return Ok(exit::OK);
    }
    publish::publish(&places, release, &plan, &backup, &context.teller()).await?;
    summary.settle();
    show(context, args, &summary);
    Ok(exit::OK)
}

/// Asks whether to publish, where nobody said so on the command line.
async fn allowed(context: &Context, args: &Args, release: &Release, plan: &PublishPlan) -> Result<bool, Fault> {
    if args.yes {
        return Ok(true);
    }
    let what = describe(release, plan);
    if !confirm::can_ask() {
        return Err(Fault::usage(format!("nobody is there to be asked whether to publish {what}")).hint(
            "`--yes` does not ask, and `--dry-run` only says what would be done. What is published cannot be taken back.",
        ));
    }
    context.screen.settle();
    // On a thread of its own, so that a signal ends the question.
    let asking =
        tokio::task::spawn_blocking(move || confirm::confirm(&format!("Publish {what}? It cannot be taken back.")));
    // A question that could not be asked was not answered.
    Ok(asking.await.unwrap_or(false))
}

/// What is about to be done, for a question.
fn describe(release: &Release, plan: &PublishPlan) -> String {
    let places = plan.index.iter().chain(&plan.host).filter_map(|place| match place.missing().count() {
        0 => None,
        files => Some(format!("{} to `{}`", pluralize(files as u64, "file"), place.place)),
    });
    let writes = plan.latest.as_ref().is_some_and(|latest| matches!(latest.change, LatestChange::Write(_)));
    let parts: Vec<String> = places.chain(writes.then(|| format!("`{LATEST}` there"))).collect();
    format!("{} ({})", release.version, parts.join(", "))
}

fn summarise(release: &Release, plan: &PublishPlan, source: String, backup: &Backup) -> Summary {
    let place = |place: &PlacePlan| {
        let file = |(at, standing): &(usize, Standing)| {
            let file = &release.files[*at];
            let fate = if *standing == Standing::There { "there" } else { "would be published" };
            FileSummary { name: file.name.clone(), size: file.size, sha256: file.sha256.to_string(), fate }
        };
        PlaceSummary { place: place.place.clone(), files: place.files.iter().map(file).collect() }
    };
    let latest = plan.latest.as_ref().map(|latest| {
        let (fate, reason) = match &latest.change {
            LatestChange::Same => ("there", None),
            LatestChange::Write(_) => ("would be written", None),
            LatestChange::Keep(why) => ("kept", Some(why.clone())),
        };
        let kept = latest.old.is_some() && matches!(latest.change, LatestChange::Write(_));
        LatestSummary { fate, reason, backup: kept.then(|| backup.path.clone()) }
    });
    Summary {
        id: release.version.clone(),
        dry_run: false,
        source,
        index: plan.index.as_ref().map(place),
        host: plan.host.as_ref().map(place),
        latest,
    }
}

impl Summary {
    /// Turns what would be done into what was done.
    fn settle(&mut self) {
        let files = self.index.iter_mut().chain(&mut self.host).flat_map(|place| &mut place.files);
        for file in files.filter(|file| file.fate == "would be published") {
            file.fate = "published";
        }
        if let Some(latest) = self.latest.as_mut().filter(|latest| latest.fate == "would be written") {
            latest.fate = "written";
        }
    }
}

fn show(context: &Context, args: &Args, summary: &Summary) {
    if args.json {
        context.screen.json(summary);
    } else {
        show_files(context, summary);
    }
    match &summary.latest {
        Some(LatestSummary { fate: "kept", reason: Some(reason), .. }) => {
            context.screen.message(&format!("`{LATEST}` stays as it is: {reason}; `--latest always` writes it."));
        }
        Some(LatestSummary { fate: "written", backup: Some(backup), .. }) => {
            let message =
                format!("`{LATEST}` names {} now; the old one is kept as `{}`.", summary.id, backup.display());
            context.screen.message(&message);
        }
        Some(LatestSummary { fate: "written", .. }) => {
            context.screen.message(&format!("`{LATEST}` names {} now; there was none before.", summary.id));
        }
        Some(LatestSummary { fate: "would be written", .. }) => {
            context.screen.message(&format!("`{LATEST}` would be written."));
        }
        _ => {}
    }
    let places = || summary.index.iter().chain(&summary.host);
    let count = |fate: &str| places().flat_map(|place| &place.files).filter(|file| file.fate == fate).count() as u64;
    let (there, sent, open) = (count("there"), count("published"), count("would be published"));
    context.screen.message(&match (sent, open) {
        (0, 0) => format!("All files of {} are published.", summary.id),
        (0, open) => format!("Would publish {}; {there} are there already.", pluralize(open, "file")),
        (sent, _) => format!("Published {}; {there} were there already.", pluralize(sent, "file")),
    });
}

/// A table of all files, with what becomes of each at each place.
fn show_files(context: &Context, summary: &Summary) {
    let places: Vec<&PlaceSummary> = summary.index.iter().chain(&summary.host).collect();
    let mut header = vec!["FILE", "SIZE"];
    header.extend(summary.index.iter().map(|_| "INDEX").chain(summary.host.iter().map(|_| "HOST")));
    let widest = places.iter().max_by_key(|place| place.files.len());
    let row = |file: &FileSummary| {
        let fate = |place: &&PlaceSummary| {
            let there = place.files.iter().find(|other| other.name == file.name);
            there.map_or_else(|| "-".to_owned(), |there| there.fate.to_owned())
        };
        [file.name.clone(), bytes(file.size)].into_iter().chain(places.iter().map(fate)).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = widest.into_iter().flat_map(|place| &place.files).map(row).collect();
    context.screen.data(&table::render(&header, 0, &rows));
}
