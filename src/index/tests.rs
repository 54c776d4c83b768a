//! An index on loopback that answers as it is told.

use std::sync::Mutex;

use model::base::text;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What the server does with a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Answers with this status line's end, further headers and text.
    Says(&'static str, String, String),
    /// Takes the whole request and closes the connection.
    Cuts,
    /// Takes the whole request and answers nothing.
    Hangs,
}

pub(crate) fn says(status: &'static str, text: &str) -> Reply {
    Reply::Says(status, String::new(), text.to_owned())
}

pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    /// Gives the replies in turn, and the last one from then on.
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut replies = replies.into_iter();
            let mut reply = replies.next().unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, reply.clone(), Arc::clone(&kept)));
                reply = replies.next().unwrap_or(reply);
            }
        });
        Self { url, requests }
    }

    pub(crate) fn request(&self, at: usize) -> String {
        String::from_utf8_lossy(&self.requests.lock().unwrap()[at]).into_owned()
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn index(&self, credentials: Option<Credentials>) -> HttpIndex {
        let short = Duration::from_millis(10);
        let limits = Limits {
            connect: Duration::from_millis(100),
            answer: Duration::from_millis(400),
            rate: 1 << 20,
            pauses: (short, short),
        };
        let settings = IndexSettings { repository: self.url.clone(), listing: None, credentials, limits };
        HttpIndex::new(settings).unwrap()
    }
}

async fn serve(mut stream: TcpStream, reply: Reply, kept: Arc<Mutex<Vec<Vec<u8>>>>) {
    let (mut request, mut wanted) = (Vec::new(), usize::MAX);
    let mut piece = vec![0; 1 << 16];
    while request.len() < wanted {
        let got = stream.read(&mut piece).await.unwrap();
        if got == 0 {
            return;
        }
        request.extend_from_slice(&piece[..got]);
        if let Some(head) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            wanted = head + 4 + length;
        }
    }
    kept.lock().unwrap().push(request);
    match reply {
        Reply::Says(status, headers, text) => {
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{text}",
                text.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        Reply::Cuts => {}
        Reply::Hangs => tokio::time::sleep(Duration::from_secs(60)).await,
    }
}

/// A checked file of some content.
fn file(folder: &tempfile::TempDir) -> ReleaseFile {
    let path = folder.path().join("m-1-cp313-cp313-win32.whl");
    let bytes = b"bytes of it\r\n".repeat(20_000);
    std::fs::write(&path, &bytes).unwrap();
    ReleaseFile {
        name: "m-1-cp313-cp313-win32.whl".to_owned(),
        size: bytes.len() as u64,
        modified: std::fs::metadata(&path).unwrap().modified().unwrap(),
        sha256: Sha256Sum::of_bytes(&Sha256::digest(&bytes)).unwrap(),
        path,
        package: Some(model::release::PackageDetails {
            interpreter: "cp313".to_owned(),
            metadata: "Metadata-Version: 2.1\nName: m\nVersion: 1\n".to_owned(),
        }),
    }
}

#[tokio::test]
async fn an_upload_is_a_form_with_the_whole_file_and_the_token_in_a_header() {
    let (folder, server) = (tempfile::tempdir().unwrap(), Server::start(vec![says("200 OK", "")]).await);
    let (file, moved) = (file(&folder), AtomicU64::new(0));
    let index = server.index(Some(Credentials::token("secret-token")));
    assert!(!format!("{index:?}").contains("secret-token"));
    index.check_credentials().unwrap();
    let progress = |bytes| {
        moved.fetch_add(bytes, Ordering::Relaxed);
    };
    index.upload(&file, &progress).await.unwrap();
    assert_eq!(moved.into_inner(), file.size);
    let request = server.request(0);
    // `__token__:secret-token`
    assert!(request.contains("Basic X190b2tlbl9fOnNlY3JldC10b2tlbg=="), "{}", text::cut(&request, 2000));
    for (key, value) in
        [(":action", "file_upload"), ("pyversion", "cp313"), ("name", "m"), ("sha256_digest", file.sha256.as_str())]
    {
        assert!(request.contains(&format!("name=\"{key}\"\r\n\r\n{value}\r\n")), "{key}");
    }
    // A form that is cut off lacks what would make a server take it.
    assert!(request.find("name=\":action\"") > request.find("bytes of it"));
    assert!(request.contains("name=\"content\"; filename=\"m-1-cp313-cp313-win32.whl\""));
    assert!(request.contains(&"bytes of it\r\n".repeat(20_000)));

    // What is no more what was checked is not sent.
    std::fs::write(&file.path, "other").unwrap();
    let Err(UploadError::Refused(fault)) = index.upload(&file, &|_| ()).await else { panic!("it was sent") };
    assert!(fault.message.contains("changed since it was checked"));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_refusal_is_told_in_the_indexs_words_and_what_is_not_known_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    let moved = Reply::Says("302 Found", "Location: http://127.0.0.1:1/other\r\n".to_owned(), String::new());
    for (reply, refused, told) in [
        (says("403 Forbidden", "<h1>Invalid token</h1>"), true, "Invalid token"),
        (says("400 Bad", "<title>400 File already exists</title>"), true, "File already exists"),
        (moved, true, "`http://127.0.0.1:1/other`"),
        (says("500 Oops", "broken"), false, "HTTP 500"),
        (says("429 Slow", ""), false, "HTTP 429"),
        (Reply::Cuts, false, "broke"),
        (Reply::Hangs, false, "waited"),
    ] {
        let server = Server::start(vec![reply]).await;
        let error = server.index(None).upload(&file, &|_| ()).await.unwrap_err();
        let (is_refused, fault) = match error {
            UploadError::Refused(fault) => (true, fault),
            UploadError::Unsure(fault) => (false, fault),
        };
        assert_eq!((is_refused, server.count()), (refused, 1), "{told}: {fault:?}");
        assert!(fault.line().contains(told), "{told}: {fault:?}");
    }
}

#[tokio::test]
async fn a_list_is_asked_for_again_and_a_project_without_one_has_no_files() {
    let page = "<a href='/p/m-1.whl'>m</a>";
    let server = Server::start(vec![says("503 Later", ""), Reply::Cuts, says("200 OK", page)]).await;
    let files = server.index(None).list("m").await.unwrap();
    assert_eq!((files.len(), files[0].name.as_str(), server.count()), (1, "m-1.whl", 3));
    assert!(server.request(2).starts_with("GET /simple/m/ HTTP/1.1\r\n"));
    let server = Server::start(vec![says("404 Not Found", "")]).await;
    assert_eq!(server.index(None).list("m").await.unwrap(), []);
    let elsewhere = |place: &str| Reply::Says("303 See Other", format!("Location: {place}\r\n"), String::new());
    let server = Server::start(vec![elsewhere("https://index.example.org/simple/m/")]).await;
    assert_eq!(server.index(None).list("m").await.unwrap(), []);
    for (reply, told) in [
        (elsewhere("/other/m/"), "`/other/m/`, which is not followed"),
        (says("403 Forbidden", ""), "does not list"),
        (says("200 OK", "no page"), "cannot be read"),
        (says("500 Oops", ""), "HTTP 500"),
        (Reply::Hangs, "waited"),
    ] {
        let server = Server::start(vec![reply]).await;
        let fault = server.index(None).list("m").await.unwrap_err();
        assert!(fault.line().contains(told), "{fault:?}");
    }
}

#[tokio::test]
async fn credentials_go_to_their_own_index_alone() {
    let other = Server::start(vec![says("200 OK", "content")]).await;
    let server = Server::start(vec![says("200 OK", "<p>")]).await;
    let index = server.index(Some(Credentials::login("ann", "secret")));
    index.list("m").await.unwrap();
    assert!(server.request(0).to_lowercase().contains("authorization: basic"));
    let file = IndexedFile { name: "m".to_owned(), url: format!("{}m", other.url), sha256: None };
    let sum = index.sum_of(&file, 7).await.unwrap();
    assert_eq!(sum, Sha256Sum::of_bytes(&Sha256::digest(b"content")).unwrap());
    assert!(!other.request(0).to_lowercase().contains("authorization"));
    let settings = |repository: &str, credentials| IndexSettings {
        repository: repository.to_owned(),
        listing: None,
        credentials,
        limits: Limits::default(),
    };
    let open = HttpIndex::new(settings("http://index.example.org/", Some(Credentials::token("secret")))).unwrap_err();
    assert!(open.message.contains("in the open"), "{open:?}");
    let nobody = HttpIndex::new(settings(REPOSITORY, None)).unwrap().check_credentials().unwrap_err();
    assert!(nobody.hint.unwrap().contains("machine upload.pypi.org login __token__"));
}
