//! Package indexes over HTTP: what they list (PEP 691 as JSON, PEP 503 as HTML), and the upload of a file by the form that
//! `twine` sends. Also where releases of the tool itself are: nothing else speaks HTTP.
//!
//! Credentials go to the repository's own origin alone, over HTTPS or to this computer, and no redirect is followed: it
//! could lead them elsewhere. Certificates are checked as the system says.

mod address;
mod answer;
mod credentials;
mod form;
mod listing;
pub mod netrc;
mod releases;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use model::base::deadline::{Deadline, Pace};
use model::connection::Progress;
use model::fault::Fault;
use model::release::{IndexedFile, PackageIndex, ReleaseFile, UploadError};
use model::sum::Sha256Sum;
use reqwest::multipart::{Form, Part};
use reqwest::redirect::Policy;
use reqwest::{Body, Client, ClientBuilder, RequestBuilder, Response, Url};
use sha2::{Digest, Sha256};

pub use address::{REPOSITORY, host_of};
pub use credentials::Credentials;
pub use releases::{RELEASES_LIMIT, ReleasePlace};

/// The bytes of a file that are handed to the connection at once.
const PIECE: usize = 64 << 10;

/// Most bytes of a listing. That of Mercurial has 0.6 MB at the largest index.
const LISTING_CAP: usize = 64 << 20;

/// How often a request that changes nothing is made before its error counts.
const TRIES: usize = 3;

/// The forms of a listing that are understood, the best first.
const FORMS: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// Interval at which the progress of an upload is told.
const TELLING: Duration = Duration::from_millis(100);

/// How long an index may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// To take a connection.
    pub connect: Duration,
    /// To answer once it has the whole request.
    pub answer: Duration,
    /// The fewest bytes a second of an upload or a download.
    pub rate: u64,
    /// The pause before a request is made again: the first, doubled after each up to the second.
    pub pauses: (Duration, Duration),
}

impl Default for Limits {
    /// An index may check a file for a minute before it answers; 16 KiB a second is a bad line of a telephone.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            answer: Duration::from_secs(120),
            rate: 16 << 10,
            pauses: (Duration::from_millis(500), Duration::from_secs(5)),
        }
    }
}

impl Limits {
    fn moving(&self, bytes: u64) -> Duration {
        self.answer + Duration::from_secs(bytes / self.rate.max(1))
    }
}

/// Which index, and how it is met.
#[derive(Debug)]
pub struct IndexSettings {
    /// Where files are uploaded.
    pub repository: String,
    /// Where they are listed; the usual place beside the repository where none is named.
    pub listing: Option<String>,
    /// What lets files in.
    pub credentials: Option<Credentials>,
    /// How long it may take.
    pub limits: Limits,
}

/// An index.
#[derive(Debug)]
pub struct HttpIndex {
    client: Client,
    repository: Url,
    listing: Url,
    credentials: Option<Credentials>,
    limits: Limits,
}

impl HttpIndex {
    /// Refuses addresses that cannot be used, and credentials that would travel in the open.
    pub fn new(settings: IndexSettings) -> Result<Self, Fault> {
        let repository = address::parse(&settings.repository, "--repository-url")?;
        let listing = match &settings.listing {
            Some(listing) => address::folder(address::parse(listing, "--index-url")?),
            None => address::default_listing(&repository)?,
        };
        if settings.credentials.is_some() && !address::is_private(&repository) {
            return Err(Fault::usage(format!("credentials would travel to `{repository}` in the open"))
                .hint("Name the index by `https://`."));
        }
        let mut builder = client_builder().redirect(Policy::none()).connect_timeout(settings.limits.connect);
        if address::is_loopback(&repository) {
            // What is on this computer is not reached by way of another.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| {
            Fault::outside("cannot prepare connections to a package index").because(error.without_url())
        })?;
        let (credentials, limits) = (settings.credentials, settings.limits);
        Ok(Self { client, repository, listing, credentials, limits })
    }

    /// The request, with the credentials where it goes to the repository's own origin.
    fn with_credentials(&self, request: RequestBuilder, url: &Url) -> RequestBuilder {
        match &self.credentials {
            Some(credentials) if url.origin() == self.repository.origin() => credentials.add_to(request),
            _ => request,
        }
    }

    /// Gets `url`; an answer that may be another the next time is asked for again.
    async fn get(&self, url: &Url, accept: &str) -> Result<Response, Fault> {
        let (mut pace, mut tries) = (Pace::new(self.limits.pauses), 0);
        loop {
            tries += 1;
            let request = self.client.get(url.clone()).header("Accept", accept).header("Cache-Control", "no-cache");
            let sending = self.with_credentials(request, url).send();
            let deadline = Deadline::after(self.limits.answer + self.limits.connect, format!("`{url}` to answer"));
            let fault = match deadline.bound(sending).await {
                Ok(Ok(answer)) if !answer::may_pass(answer.status()) => return Ok(answer),
                Ok(Ok(answer)) => answer::refusal(answer, &deadline, url, "does not answer").await,
                Ok(Err(error)) => answer::not_reached(url, error),
                Err(expired) => expired.into(),
            };
            if tries == TRIES {
                return Err(fault);
            }
            pace.pause().await;
        }
    }

    /// The sum of a file at `url`, or of its beginning where it has more than `most` bytes.
    async fn fetch_sum(&self, url: &Url, most: u64) -> Result<Sha256Sum, Fault> {
        let deadline = Deadline::after(self.limits.moving(most), format!("`{url}` to be fetched"));
        let mut answer = self.get(url, "*/*").await?;
        if !answer.status().is_success() {
            return Err(answer::refusal(answer, &deadline, url, "cannot be fetched").await);
        }
        let (mut hasher, mut read) = (Sha256::new(), 0_u64);
        while read <= most {
            let piece = deadline.bound(answer.chunk()).await?.map_err(|error| answer::not_reached(url, error))?;
            let Some(piece) = piece else { break };
            read += piece.len() as u64;
            hasher.update(&piece);
        }
        Sha256Sum::of_bytes(&hasher.finalize()).ok_or_else(|| Fault::outside("a sum of SHA-256 has 32 bytes"))
    }

    /// Sends the form of an upload, and tells how much of the file has gone.
    async fn send(&self, file: &ReleaseFile, bytes: Vec<u8>, progress: Progress<'_>) -> Result<Response, UploadError> {
        let gone = Arc::new(AtomicU64::new(0));
        let form = form_of(file, bytes, &gone).map_err(UploadError::Refused)?;
        let request = self.client.post(self.repository.clone()).multipart(form);
        let sending = self.with_credentials(request, &self.repository).send();
        let what = format!("`{}` to take `{}`", self.repository, file.name);
        let deadline = Deadline::after(self.limits.connect + self.limits.moving(file.size), what);
        let mut told = 0;
        let mut tell = || {
            let now = gone.load(Ordering::Relaxed);
            progress(now - told);
            told = now;
        };
        let sending = deadline.bound(sending);
        tokio::pin!(sending);
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => {
                    tell();
                    return match sent {
                        Ok(Ok(answer)) => Ok(answer),
                        Ok(Err(error)) => Err(UploadError::Unsure(answer::not_reached(&self.repository, error))),
                        Err(expired) => Err(UploadError::Unsure(expired.into())),
                    };
                }
                () = tokio::time::sleep(TELLING) => tell(),
            }
        }
    }
}

/// What all clients of HTTP have alike.
fn client_builder() -> ClientBuilder {
    // Another part of the program may have chosen the same; both serve.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder().user_agent(concat!("automation/", env!("CARGO_PKG_VERSION")))
}

/// The form of an upload; `gone` counts the bytes of the file that were handed to the connection.
fn form_of(file: &ReleaseFile, bytes: Vec<u8>, gone: &Arc<AtomicU64>) -> Result<Form, Fault> {
    let (length, gone) = (bytes.len() as u64, Arc::clone(gone));
    let pieces = stream::unfold((bytes, 0), move |(bytes, at)| {
        let gone = Arc::clone(&gone);
        async move {
            let piece =
                bytes.get(at..).map(|rest| rest[..rest.len().min(PIECE)].to_vec()).filter(|piece| !piece.is_empty())?;
            gone.fetch_add(piece.len() as u64, Ordering::Relaxed);
            let next = at + piece.len();
            Some((Ok::<_, std::io::Error>(piece), (bytes, next)))
        }
    });
    let part = Part::stream_with_length(Body::wrap_stream(pieces), length).file_name(file.name.clone());
    let part = part.mime_str("application/octet-stream");
    let part = part.map_err(|error| Fault::outside("cannot make the form of an upload").because(error))?;
    let fields = form::fields(file).into_iter();
    let form = fields.fold(Form::new(), |form, (key, value)| form.part(key, Part::text(value)));
    let (action, upload) = form::ACTION;
    Ok(form.part("content", part).part(action, Part::text(upload)))
}

/// The bytes of a file, which must be those that were checked.
async fn read_checked(file: &ReleaseFile) -> Result<Vec<u8>, Fault> {
    let path = file.path.clone();
    let failed =
        |error: std::io::Error| Fault::outside(format!("cannot read `{}`", file.path.display())).because(error);
    let read = tokio::task::spawn_blocking(move || {
        let bytes = std::fs::read(&path)?;
        let sum = Sha256::digest(&bytes);
        Ok::<_, std::io::Error>((bytes, sum))
    });
    let (bytes, sum) = read.await.map_err(|error| failed(error.into()))?.map_err(failed)?;
    match Sha256Sum::of_bytes(&sum).is_some_and(|sum| sum == file.sha256) {
        true => Ok(bytes),
        false => Err(Fault::outside(format!("`{}` changed since it was checked", file.path.display()))
            .hint("Run it again when nobody writes there.")),
    }
}

#[async_trait]
impl PackageIndex for HttpIndex {
    fn place(&self) -> String {
        self.repository.to_string()
    }

    fn check_credentials(&self) -> Result<(), Fault> {
        // An index on one's own computer may take anybody's files.
        if self.credentials.is_some() || address::is_loopback(&self.repository) {
            return Ok(());
        }
        let host = self.repository.host_str().unwrap_or_default();
        Err(Fault::usage(format!("there are no credentials for `{}`", self.repository)).hint(format!(
            "Put an API token into the variable `AUTOMATION_INDEX_TOKEN`, or a line `machine {host} login __token__ password TOKEN` \
             into your `.netrc`."
        )))
    }

    async fn list(&self, project: &str) -> Result<Vec<IndexedFile>, Fault> {
        let page = self.listing.join(&format!("{project}/"));
        let page = page.map_err(|error| Fault::usage(format!("`{}` lists nothing", self.listing)).because(error))?;
        let mut answer = self.get(&page, FORMS).await?;
        let deadline = Deadline::after(self.limits.answer, format!("the list at `{page}`"));
        match answer.status().as_u16() {
            404 => return Ok(Vec::new()),
            // An index that does not know a project may send its reader to another, which is not asked: it takes no files
            // of ours.
            300..=399 if answer::leads_to_another_host(&answer, &page) => return Ok(Vec::new()),
            200..=299 => {}
            _ => return Err(answer::refusal(answer, &deadline, &page, "does not list its files").await),
        }
        let is_json = answer::is_json(&answer);
        let mut text = Vec::new();
        while let Some(piece) =
            deadline.bound(answer.chunk()).await?.map_err(|error| answer::not_reached(&page, error))?
        {
            text.extend_from_slice(&piece);
            if text.len() > LISTING_CAP {
                return Err(Fault::outside(format!("the list at `{page}` is too long")));
            }
        }
        let read = if is_json { listing::read_json(&text, &page) } else { listing::read_html(&text, &page) };
        read.map_err(|why| Fault::outside(format!("the list at `{page}` cannot be read")).because(why))
    }

    async fn sum_of(&self, file: &IndexedFile, most: u64) -> Result<Sha256Sum, Fault> {
        let url = Url::parse(&file.url);
        let url = url.map_err(|error| Fault::outside(format!("`{}` is no address", file.url)).because(error))?;
        self.fetch_sum(&url, most).await
    }

    async fn upload(&self, file: &ReleaseFile, progress: Progress<'_>) -> Result<(), UploadError> {
        let bytes = read_checked(file).await.map_err(UploadError::Refused)?;
        let answer = self.send(file, bytes, progress).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let deadline = Deadline::after(self.limits.answer, "the rest of a refusal");
        let fault =
            answer::refusal(answer, &deadline, &self.repository, &format!("does not take `{}`", file.name)).await;
        Err(if answer::may_pass(status) { UploadError::Unsure(fault) } else { UploadError::Refused(fault) })
    }
}

#[cfg(test)]
mod tests;
