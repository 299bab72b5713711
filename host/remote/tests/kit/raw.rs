//! The protocol by hand: a client that sends what no client would, and a server that answers what no
//! server would.

#![allow(clippy::all, reason = "half of it is generated")]

pub(crate) mod proto {
    //! The messages, as the package compiles them for itself.
    #![allow(missing_docs, unreachable_pub, unused_qualifications, dead_code, reason = "generated")]
    tonic::include_proto!("stockade.remote");
}

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use stockade_remote::{FENCE_FIELDS, STORE_NAME};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Status, Streaming, async_trait};

use super::Keys;
use proto::store_client::StoreClient;
use proto::welcome;

const PROTOCOL: &[u8] = b"stockade-store";

/// A request: announced length, and parts that need not be that long.
pub(crate) fn request(
    version: u32,
    step: i32,
    bytes: u64,
    data: &[&[u8]],
) -> Vec<proto::RequestPart> {
    let head =
        proto::RequestHead { version: Some(version), step, bytes: Some(bytes), wait_ms: None };
    let mut parts: Vec<proto::RequestPart> = data
        .iter()
        .map(|data| proto::RequestPart { head: None, data: Bytes::copy_from_slice(data) })
        .collect();
    if parts.is_empty() {
        parts.push(proto::RequestPart::default());
    }
    parts[0].head = Some(head);
    parts
}

#[derive(Clone)]
struct Sender(SendRequest<Body>);

impl Service<Request<Body>> for Sender {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, hyper::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A client without a certificate.
pub(crate) struct Client {
    sender: Sender,
    _tasks: JoinSet<()>,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr, keys: &Keys) -> Self {
        Self::connect_with(to, client_config(keys, None)).await
    }

    /// One with a certificate for a store.
    pub(crate) async fn certified(to: SocketAddr, keys: &Keys) -> Self {
        Self::named(to, keys, STORE_NAME).await
    }

    /// One with a certificate for another name.
    pub(crate) async fn named(to: SocketAddr, keys: &Keys, name: &str) -> Self {
        Self::connect_with(to, client_config(keys, Some(name))).await
    }

    async fn connect_with(to: SocketAddr, config: ClientConfig) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        let name = ServerName::try_from(STORE_NAME).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Self { sender: Sender(sender), _tasks: tasks }
    }

    fn client(&self) -> StoreClient<Sender> {
        let origin = Uri::from_static("https://store.stockade.internal");
        StoreClient::with_origin(self.sender.clone(), origin)
    }

    /// Greets; the version that was agreed on, or why not.
    pub(crate) async fn greet(&self, versions: &[u32], token: Option<&str>) -> Result<u32, String> {
        self.greet_with(versions, &FENCE_FIELDS, token).await
    }

    pub(crate) async fn greet_with(
        &self,
        versions: &[u32],
        carries: &[&str],
        token: Option<&str>,
    ) -> Result<u32, String> {
        let terms = proto::Terms {
            versions: versions.to_vec(),
            carries: carries.iter().map(|field| (*field).to_owned()).collect(),
            program: "by-hand".to_owned(),
        };
        let hello = proto::Hello { terms: Some(terms), token: token.map(str::to_owned) };
        let welcome = self.client().greet(hello).await.map_err(|status| status.to_string())?;
        match welcome.into_inner().answer.unwrap() {
            welcome::Answer::Accepted(accepted) => Ok(accepted.version.unwrap()),
            welcome::Answer::Refusal(refusal) => Err(refusal.reason),
        }
    }

    /// Says that this client leaves.
    pub(crate) async fn leave(&self, reason: &str) {
        let refusal = proto::Refusal { code: 1, reason: reason.to_owned() };
        self.client().leave(refusal).await.unwrap();
    }

    /// Sends a step. Whether it failed, and the whole answer; or why there is none.
    pub(crate) async fn step(
        &self,
        parts: &[proto::RequestPart],
    ) -> Result<(bool, Vec<u8>, proto::ReplyHead), String> {
        self.send(stream::iter(parts.to_vec())).await
    }

    async fn send(
        &self,
        parts: impl Stream<Item = proto::RequestPart> + Send + 'static,
    ) -> Result<(bool, Vec<u8>, proto::ReplyHead), String> {
        let text = |status: Status| status.to_string();
        let mut replies = self.client().step(parts).await.map_err(text)?.into_inner();
        let (mut head, mut whole) = (None, Vec::new());
        while let Some(part) = replies.message().await.map_err(text)? {
            head = head.or(part.head);
            whole.extend_from_slice(&part.data);
        }
        let head = head.ok_or("no head")?;
        Ok((head.failed == Some(true), whole, head))
    }

    /// Sends a step that must be refused as certainly not applied; why.
    pub(crate) async fn refused(&self, parts: &[proto::RequestPart]) -> String {
        self.refused_after(stream::iter(parts.to_vec())).await
    }

    /// The same for a step that may never be sent whole.
    pub(crate) async fn refused_after(
        &self,
        parts: impl Stream<Item = proto::RequestPart> + Send + 'static,
    ) -> String {
        let (failed, message, _) = self.send(parts).await.unwrap();
        assert!(failed, "it was not refused");
        match proto::StoreError::decode(&message[..]).unwrap().error.unwrap() {
            proto::store_error::Error::Unavailable(why) => why,
            other => panic!("{other:?}"),
        }
    }
}

fn identity(
    keys: &Keys,
    file: &str,
    name: &str,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let (certificate, key) = keys.sign(file, name);
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_file(key).unwrap())
}

fn client_config(keys: &Keys, name: Option<&str>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(keys.authority()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match name {
        Some(name) => {
            let (chain, key) = identity(keys, "by-hand", name);
            config.with_client_auth_cert(chain, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config
}

/// That a server by hand speaks this version, if it was offered.
pub(crate) fn accepts(version: u32) -> proto::Accepted {
    let carries = FENCE_FIELDS.map(str::to_owned).to_vec();
    let terms = proto::Terms { versions: vec![version], carries, program: "by-hand".to_owned() };
    proto::Accepted { version: Some(version), terms: Some(terms), shards: Some(3) }
}

/// What a server by hand answers.
#[derive(Clone)]
pub(crate) struct Answers {
    /// To a greeting.
    pub(crate) accepted: proto::Accepted,
    /// To each step.
    pub(crate) replies: Vec<proto::ReplyPart>,
}

/// A server by hand. What clients say when they leave is kept, and the heads of their steps.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) left: Arc<parking_lot::Mutex<Vec<String>>>,
    pub(crate) asked: Arc<parking_lot::Mutex<Vec<proto::RequestHead>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Rogue {
    answers: Answers,
    left: Arc<parking_lot::Mutex<Vec<String>>>,
    asked: Arc<parking_lot::Mutex<Vec<proto::RequestHead>>>,
}

impl Server {
    pub(crate) async fn start(keys: &Keys, answers: Answers) -> Self {
        Self::named(keys, STORE_NAME, answers).await
    }

    /// One with a certificate for another name.
    pub(crate) async fn named(keys: &Keys, name: &str, answers: Answers) -> Self {
        let (chain, key) = identity(keys, "rogue", name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::<parking_lot::Mutex<Vec<String>>>::default();
        let asked = Arc::<parking_lot::Mutex<Vec<proto::RequestHead>>>::default();
        let rogue = Rogue { answers, left: Arc::clone(&left), asked: Arc::clone(&asked) };
        let routes = proto::store_server::StoreServer::new(rogue);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, routes) = (acceptor.clone(), routes.clone());
                served.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service =
                        hyper::service::service_fn(move |request| routes.clone().call(request));
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { port, left, asked, _tasks: tasks }
    }
}

#[async_trait]
impl proto::store_server::Store for Rogue {
    async fn greet(
        &self,
        _: tonic::Request<proto::Hello>,
    ) -> Result<tonic::Response<proto::Welcome>, Status> {
        let answer = Some(welcome::Answer::Accepted(self.answers.accepted.clone()));
        Ok(tonic::Response::new(proto::Welcome { answer }))
    }

    async fn leave(
        &self,
        request: tonic::Request<proto::Refusal>,
    ) -> Result<tonic::Response<proto::Done>, Status> {
        self.left.lock().push(request.into_inner().reason);
        Ok(tonic::Response::new(proto::Done {}))
    }

    type StepStream = BoxStream<'static, Result<proto::ReplyPart, Status>>;

    async fn step(
        &self,
        request: tonic::Request<Streaming<proto::RequestPart>>,
    ) -> Result<tonic::Response<Self::StepStream>, Status> {
        let first = request.into_inner().message().await?;
        self.asked.lock().extend(first.and_then(|first| first.head));
        let replies = self.answers.replies.clone();
        Ok(tonic::Response::new(stream::iter(replies.into_iter().map(Ok)).boxed()))
    }
}
