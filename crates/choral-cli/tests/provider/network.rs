//! Certificates and proxies.

use crate::job::{Job, expected, outcome, row, told};
use choral_mock::MockServer;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

const WORDS: [&str; 4] = ["--provider", "openai", "--model", "gpt-4o-mini"];

/// The mock behind TLS with a certificate of an authority that nobody knows, and a proxy.
struct Company {
    mock: MockServer,
    runtime: Runtime,
    tls: SocketAddr,
    /// The authority, in PEM.
    authority: String,
}

impl Company {
    fn new() -> Self {
        let mock = MockServer::start().expect("listens");
        let runtime = Runtime::new().expect("starts");
        let mut authority = CertificateParams::new([]).expect("a name");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().expect("a key");
        let pem = authority.self_signed(&authority_key).expect("signed").pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let server = server.signed_by(&key, &issuer).expect("signed");
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![server.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("a certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mock_address = address_of(&mock.url());
        let listener = runtime.block_on(listen());
        let tls = listener.local_addr().expect("an address");
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not believe it goes away.
                    let Ok(mut inside) = acceptor.accept(socket).await else {
                        return;
                    };
                    let mut outside = TcpStream::connect(mock_address).await.expect("the mock");
                    let _ = copy_bidirectional(&mut inside, &mut outside).await;
                });
            }
        });
        Self {
            mock,
            runtime,
            tls,
            authority: pem,
        }
    }

    /// A proxy, and what it was asked.
    fn proxy(&self) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let listener = self.runtime.block_on(listen());
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let mock = address_of(&self.mock.url());
        self.runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&seen), mock));
            }
        });
        (address, asked)
    }

    fn job(&self) -> Job {
        let job = Job::new(&self.mock, &row("a", "Once"));
        fs::write(job.path("ca.pem"), &self.authority).expect("writable");
        job
    }

    /// A job on the server behind TLS.
    fn command(&self, job: &Job, words: &[&str]) -> Command {
        let mut command = job.command("answers.jsonl", &[&WORDS[..], words].concat());
        let url = format!("https://localhost:{}/v1", self.tls.port());
        command
            .env("OPENAI_BASE_URL", url)
            .env_remove("SSL_CERT_DIR");
        command
    }
}

/// Serves one connection of a proxy: `CONNECT`, or requests with a whole URL, which are
/// all for the mock.
async fn serve(mut client: TcpStream, seen: Arc<Mutex<Vec<String>>>, mock: SocketAddr) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    seen.lock().expect("no panic").push(text.clone());
    let mut words = text.split_whitespace();
    let is_tunnel = words.next() == Some("CONNECT");
    let target = words.next().unwrap_or_default().to_owned();
    let mut server = if is_tunnel {
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let port = target.rsplit(':').next().and_then(|port| port.parse().ok());
        let port: u16 = port.expect("a port");
        TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("it is there")
    } else {
        let mut server = TcpStream::connect(mock).await.expect("the mock");
        server.write_all(&head).await.expect("taken");
        server
    };
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("listens")
}

fn address_of(url: &str) -> SocketAddr {
    let address = url.strip_prefix("http://").expect("a URL");
    address.parse().expect("an address")
}

fn check_answered(job: &Job, mut command: Command) {
    let _ = fs::remove_file(job.path("answers.jsonl"));
    command.arg("--overwrite");
    let (code, stderr) = told(command);
    assert_eq!(code, Some(0), "{stderr}");
    let lines = job.lines("answers.jsonl");
    assert_eq!(outcome(&lines[0]), Ok(&*expected("Once")));
}

#[test]
fn an_authority_of_ones_own_is_trusted_when_it_is_named() {
    let company = Company::new();
    let job = company.job();
    let ca = job.path("ca.pem");
    let mut command = company.command(&job, &[]);
    command.env("SSL_CERT_FILE", &ca);
    check_answered(&job, command);
    let ca = ca.display().to_string();
    let mut command = company.command(&job, &["--ca-file", &ca]);
    command.env_remove("SSL_CERT_FILE");
    check_answered(&job, command);
    assert_eq!(company.mock.log().num_requests(), 2);
}

#[test]
fn a_certificate_that_is_not_trusted_ends_the_job_and_says_so() {
    let company = Company::new();
    let job = company.job();
    let mut command = company.command(&job, &[]);
    command.env_remove("SSL_CERT_FILE");
    let begun = std::time::Instant::now();
    let (code, stderr) = told(command);
    assert_eq!(code, Some(1), "{stderr}");
    let said = "the server's certificate is not trusted";
    assert!(
        stderr.contains(said) && stderr.contains("SSL_CERT_FILE"),
        "{stderr}"
    );
    assert!(begun.elapsed().as_secs() < 5, "it is not tried again");
    // The right authority and a wrong name.
    let ca = job.path("ca.pem").display().to_string();
    let mut command = company.command(&job, &["--ca-file", &ca]);
    let url = format!("https://127.0.0.1:{}/v1", company.tls.port());
    command.env("OPENAI_BASE_URL", url);
    let (code, stderr) = told(command);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(said), "{stderr}");
    assert_eq!(company.mock.log().num_requests(), 0);
    // And then the job goes on.
    let (code, stderr) = told(company.command(&job, &["--ca-file", &ca]));
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn a_file_without_authorities_is_refused_by_name() {
    let company = Company::new();
    let job = company.job();
    let nowhere = PathBuf::from("/nowhere/ca.pem");
    for path in [nowhere, job.path("rows.jsonl")] {
        let mut command = company.command(&job, &[]);
        command.env("SSL_CERT_FILE", &path);
        let (code, stderr) = told(command);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("SSL_CERT_FILE"), "{stderr}");
        let shown = path.display().to_string();
        let mut command = company.command(&job, &["--ca-file", &shown]);
        command.env_remove("SSL_CERT_FILE");
        let (code, stderr) = told(command);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(&shown), "{stderr}");
    }
}

#[test]
fn proxies_of_the_environment_are_used() {
    let company = Company::new();
    let job = company.job();
    let (proxy, asked) = company.proxy();
    let take = || std::mem::take(&mut *asked.lock().expect("no panic"));
    let url = format!("http://user:proxy-secret-123@{proxy}");
    let ca = job.path("ca.pem").display().to_string();
    // A tunnel, through which the proxy sees neither request nor key.
    let mut command = company.command(&job, &["--ca-file", &ca]);
    command.env("HTTPS_PROXY", &url);
    check_answered(&job, command);
    let heads = take();
    let target = format!("CONNECT localhost:{} ", company.tls.port());
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with(&target), "{heads:?}");
    let basic = "proxy-authorization: basic ";
    assert!(heads[0].to_lowercase().contains(basic), "{heads:?}");
    assert!(!heads[0].contains(crate::job::KEY));
    // Without TLS, the proxy is asked for the whole URL.
    let plain = |variable: &str, value: &str| {
        let mut command = job.command("answers.jsonl", &WORDS);
        command.env(variable, value);
        command
    };
    check_answered(&job, plain("HTTP_PROXY", &url));
    let heads = take();
    let target = format!("POST {}/v1/chat/completions ", company.mock.url());
    assert!(heads[0].starts_with(&target), "{heads:?}");
    // Some hosts are asked directly.
    let mut command = plain("HTTP_PROXY", &url);
    command.env("NO_PROXY", "127.0.0.1");
    check_answered(&job, command);
    assert_eq!(take(), Vec::<String>::new());
    // A proxy that is not there is an error of the row, and its password is not shown.
    let mut command = plain("HTTP_PROXY", "http://user:proxy-secret-123@127.0.0.1:9");
    command.args(["--overwrite", "--max-attempts", "1"]);
    let (code, stderr) = told(command);
    assert_eq!(code, Some(3), "{stderr}");
    let line = job.lines("answers.jsonl").remove(0);
    assert_eq!(outcome(&line), Err("provider"));
    assert!(
        !format!("{stderr}{line}").contains("proxy-secret"),
        "{stderr}{line}"
    );
}
