//! Standard gRPC tools work against the server: health and reflection, by tonic's own clients over pinned TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use driftless_tests::World;
use driftless_tests::certs::{Authority, Identity};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt as _;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const SERVICE: &str = "driftless.v1.Driftless";

/// A channel over TLS 1.3 that trusts this authority alone.
async fn channel(address: SocketAddr, authority: &Authority) -> Channel {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let socket = TcpStream::connect(address).await?;
            let name = ServerName::from(address.ip());
            connector.connect(name, socket).await.map(TokioIo::new)
        }
    });
    Endpoint::from_static("https://driftless").connect_with_connector(connect).await.expect("it connects")
}

fn serving(world: &World, authority: &Authority) -> driftless_tests::server::Server {
    let Identity { cert_file, key_file, .. } = authority.certify(world, "leaf", &["127.0.0.1"], 2120);
    world
        .server()
        .global(format!("tls certificate = {}", cert_file.display()))
        .global(format!("tls key = {}", key_file.display()))
        .module("backup", &[])
        .start()
}

#[tokio::test]
async fn the_server_says_that_it_serves() {
    let world = World::new();
    let authority = Authority::new();
    let server = serving(&world, &authority);
    let mut health = HealthClient::new(channel(server.address(), &authority).await);
    for service in ["", SERVICE] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let reply = health.check(Request::new(request)).await.expect("an answer").into_inner();
        assert_eq!(reply.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest { service: "no.such.Service".to_owned() };
    let refused = health.check(Request::new(unknown)).await.expect_err("no such service");
    assert_eq!(refused.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn reflection_lists_the_service_and_describes_it() {
    let world = World::new();
    let authority = Authority::new();
    let server = serving(&world, &authority);
    let mut reflection = ServerReflectionClient::new(channel(server.address(), &authority).await);
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let questions = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
    ];
    let answers = reflection.server_reflection_info(tokio_stream::iter(questions)).await.expect("a stream");
    let answers: Vec<_> =
        answers.into_inner().map(|reply| reply.expect("an answer").message_response).collect().await;

    let [
        Some(MessageResponse::ListServicesResponse(list)),
        Some(MessageResponse::FileDescriptorResponse(file)),
    ] = answers.as_slice()
    else {
        panic!("other answers: {answers:?}");
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&SERVICE), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    // The descriptor is a serialised FileDescriptorProto: names stand in it as they are.
    let described = file.file_descriptor_proto.concat();
    for name in ["driftless.v1", "Driftless", "Push", "Pull", "Modules"] {
        let found = described.windows(name.len()).any(|bytes| bytes == name.as_bytes());
        assert!(found, "{name} is not described");
    }
}
