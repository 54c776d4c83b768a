//! The options and the course of every command that builds packages for Windows.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use flow::packaging::{Dist, PackagingJob, PackagingRecords, build_packages};
use model::base::text::{self, bytes};
use model::fault::Fault;
use model::machine::ProviderKind;
use model::packaging::{CellOutcome, CellResult, PackagingResults, Signer};
use project::mercurial::{self, PackageWish, SourceChoice, WindowsArch, WindowsPackages, WindowsWork};
use project::signing::SignCommand;

use crate::command::error::exit;
use crate::command::image::baking_for;
use crate::command::machine_args::{HardwareArgs, default_ttl};
use crate::command::session::{Ending, Session};
use crate::command::unfit::refuse_wait;
use crate::command::windows_args::{WindowsImage, WindowsImageArgs};
use crate::compose::{Context, current_folder};
use crate::ui::{Screen, table};

/// The options of every command that builds packages.
#[derive(Debug, clap::Args)]
pub struct PackageArgs {
    /// The revision to build
    #[arg(short, long, value_name = "REV", default_value = ".")]
    revision: String,
    /// The checkout to build [default: the one around the current folder]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Also send uncommitted changes of tracked files
    #[arg(long)]
    working_copy: bool,
    /// The folder for the packages, their list `manifest.json` and the logs of their builds
    #[arg(long, value_name = "DIR", default_value = "dist")]
    dist: PathBuf,
    /// How many machines build side by side
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=32))]
    shards: u8,
    /// How long each package may take [default: 2h]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    timeout: Option<Duration>,
    /// How long to wait for another run that uses a machine of somebody else's [default: 2m]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    wait: Option<Duration>,
    /// How long each machine lives at most, whatever happens to this command [default: 13h, 6h on EC2]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_ttl)]
    ttl: Option<Duration>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    image: WindowsImageArgs,
    #[command(flatten)]
    hardware: HardwareArgs,
}

/// The options of every command that builds installers.
#[derive(Debug, Default, clap::Args)]
pub struct InstallerArgs {
    /// The version of the installers, such as `7.2.4` [default: that of the revision's tag]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    pub version: Option<String>,
    /// Sign every installer on this computer by this command, and check that it bears a signature of its bytes then. The file's
    /// path comes last, or in place of `{in}`; `{out}` is the signed file where the command writes another
    #[arg(long, value_name = "COMMAND", value_parser = SignCommand::parse)]
    pub sign: Option<SignCommand>,
}

/// The longest life of a machine on EC2 where nobody says: a build of the whole matrix on one machine takes hours.
const CLOUD_TTL: Duration = Duration::from_secs(6 * 3600);

/// Reads the name of one of these architectures.
pub fn architectures<const N: usize>(archs: [WindowsArch; N]) -> impl TypedValueParser<Value = WindowsArch> {
    PossibleValuesParser::new(archs.map(WindowsArch::name))
        .try_map(|name: String| WindowsArch::named(&name).ok_or_else(|| format!("`{name}` is not an architecture")))
}

/// The greatest numbers of a version of Windows: those of `ProductVersion` in Microsoft's documentation of Windows Installer. The fourth
/// is one of `VS_FIXEDFILEINFO`.
const GREATEST: [u32; 4] = [255, 255, 65535, 65535];

/// Reads the version of an installer. The source's packaging makes numbers of it, which is all that Windows knows: `7.3rc0` is
/// 7.3.0.0 there, and `7.3+hg2.0123456789ab` is 7.3.0.2.
pub fn parse_version(text: &str) -> Result<String, String> {
    let fits_in = |text: &str, greatest: u32| {
        // No sign, and no zeros before it.
        text.parse::<u32>().is_ok_and(|number| number <= greatest && number.to_string() == text)
    };
    let (public, local) = text.split_once('+').map_or((text, None), |(public, local)| (public, Some(local)));
    let (release, candidate) = public.split_once("rc").map_or((public, None), |(release, rc)| (release, Some(rc)));
    let numbers: Vec<&str> = release.split('.').collect();
    let fits = (2..=4).contains(&numbers.len())
        && numbers.iter().zip(GREATEST).all(|(number, greatest)| fits_in(number, greatest))
        && candidate.is_none_or(|candidate| fits_in(candidate, 9))
        && local.is_none_or(is_local);
    fits.then(|| text.to_owned()).ok_or_else(|| "write it as in `7.2.4`, `7.3rc0` or `7.3+hg2`".to_owned())
}

/// Whether a text is what Mercurial puts behind the plus sign of a version: how many changesets follow the release, then more of their
/// names.
fn is_local(text: &str) -> bool {
    let count =
        text.strip_prefix("hg").and_then(|rest| rest.split('.').next()).and_then(|count| count.parse::<u16>().ok());
    count.is_some() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
}

impl PackageArgs {
    fn refuse_unfit(&self, kind: ProviderKind) -> Result<(), Fault> {
        self.hardware.refuse_unfit(&[kind])?;
        self.image.refuse_unfit(&[kind])?;
        if kind == ProviderKind::Host && self.shards > 1 {
            let message = "`--shards` needs machines that are made, and a machine of somebody else's is one";
            return Err(Fault::usage(message).hint("Leave it out."));
        }
        refuse_wait(self.wait.is_some(), &[kind])
    }

    fn source_choice(&self) -> SourceChoice<'_> {
        SourceChoice {
            source: self.source.as_deref(),
            of_image: false,
            revision: Some(self.revision.as_str()).filter(|revision| *revision != "."),
            working_copy: self.working_copy,
            optional: false,
        }
    }
}

/// Builds the packages that are wished for as a run of their own, to its end; installers among them are signed where a command
/// for that is given.
pub async fn build(
    context: Context,
    args: PackageArgs,
    command: &'static str,
    wish: PackageWish,
    sign: Option<SignCommand>,
) -> Result<i32, Fault> {
    let kind = context.default_provider()?;
    args.refuse_unfit(kind)?;
    let context = context.privileged(args.hardware.privileged_machine)?;
    context.require_ssh()?;
    context.require_platform(kind, WindowsWork::PLATFORM)?;
    if let Some(sign) = sign.as_ref().filter(|sign| !context.has_program(sign.program())) {
        return Err(Fault::usage(format!("`--sign`: there is no program `{}`", sign.program()))
            .hint("Better known now than after the build."));
    }
    let Some(checkout) = mercurial::find(&args.source_choice(), &current_folder()?).await? else {
        return Err(Fault::usage("there is no source to build"));
    };
    let patience = args.wait.unwrap_or(project::PATIENCE);
    let remark = checkout.remark.clone();
    let work = WindowsWork { checkout: Some(checkout.clone()), ssh: context.ssh()?, patience };
    let packages = WindowsPackages::of(&checkout, work, &wish).await?;
    let image = args.image.plan(&context, kind).await?;
    let ttl = args.ttl.unwrap_or_else(|| if kind == ProviderKind::Ec2 { CLOUD_TTL } else { default_ttl(kind) });
    let order = WindowsImage::order(image.as_ref(), &args.hardware, &context, ttl);
    let session = Session::begin(context, command).await?;
    if let Some(remark) = remark {
        session.run.tell(remark);
    }
    let job = PackagingJob {
        packager: &packages,
        plan: image.as_ref().map(|image| &image.plan),
        baking: &baking_for(&order, None),
        order: &order,
        clauses: &[mercurial::clauses_on(WindowsWork::PLATFORM)],
        machines: usize::from(args.shards),
        limit: args.timeout,
        signer: sign.as_ref().map(|command| command as &dyn Signer),
    };
    let result = drive(&session, &args, &job).await;
    session.end(result).await
}

async fn drive(session: &Session, args: &PackageArgs, job: &PackagingJob<'_>) -> Result<Ending, Fault> {
    let dist = Dist::open(&args.dist, session.id())?;
    let builds = session.context.state.builds();
    let records = PackagingRecords { folder: &session.dir, dist: &dist, builds: &builds };
    let results = build_packages(&session.run, &session.site, job, &records).await?;
    show(&session.context.screen, args.json, &results);
    let code = if session.run.stop.is_cancelled() { exit::INTERRUPTED } else { results.exit_code() };
    Ok(Ending { code, summary: results.summary(), detached: Vec::new() })
}

fn show(screen: &Screen, json: bool, results: &PackagingResults) {
    if json {
        screen.json(results);
        return;
    }
    let row = |cell: &CellResult| {
        let (outcome, size, name) = match (&cell.artifact, cell.outcome) {
            (Some(artifact), _) => ("built", bytes(artifact.size), artifact.name.clone()),
            (None, CellOutcome::Lost) => ("lost", "-".to_owned(), "-".to_owned()),
            (None, CellOutcome::NotBuilt) => ("not built", "-".to_owned(), "-".to_owned()),
            (None, _) => ("FAILED", "-".to_owned(), "-".to_owned()),
        };
        vec![cell.cell.clone(), outcome.to_owned(), text::seconds(cell.seconds), size, name]
    };
    let rows: Vec<Vec<String>> = results.cells.iter().map(row).collect();
    screen.data(&table::render(&["PACKAGE", "OUTCOME", "TOOK", "SIZE", "FILE"], 4, &rows));
    if results.count(CellOutcome::Built) > 0 {
        screen.message(&format!("Packages: {}", results.dist.display()));
    }
    if results.count(CellOutcome::Failed) > 0 {
        let logs = results.dist.join(Dist::LOGS);
        screen.message(&format!(
            "Logs: {}. What failed can be built again into the same folder, by the command for its kind.",
            logs.display()
        ));
    }
    if results.cells.iter().filter_map(|cell| cell.artifact.as_ref()).any(|artifact| artifact.rehearsal) {
        screen.message("A machine that stands in for Windows built them: a rehearsal, which `publish-windows-artifacts` does not publish.");
    }
}
