//! A small HTTP client: one connection, one request after another.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::net::TcpStream;

/// A server to ask.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    /// `HOST:PORT`.
    pub(crate) address: String,
    /// Headers of every request.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// What it answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Its `code`, checked to come with a sentence.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        assert!(json["message"].as_str().is_some_and(|message| message.len() > 5), "{json}");
        json["code"].as_str().unwrap_or_else(|| panic!("{json} has no code")).to_owned()
    }
}

/// Bytes as a path has them.
pub(crate) fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

impl Web {
    pub(crate) fn new(address: &str) -> Web {
        Web { address: address.to_owned(), headers: Vec::new() }
    }

    pub(crate) async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        if headers.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", &self.address);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).unwrap()
    }

    /// Sends a request; the answer's head is there, its body may still come.
    pub(crate) async fn open(&self, method: &str, path: &str) -> Response<Incoming> {
        let request = self.request(method, path, &[], Bytes::new());
        self.connect().await.send_request(request).await.unwrap()
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let request = self.request(method, path, headers, body);
        let response = self.connect().await.send_request(request).await;
        let response = response.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        Reply { status: head.status, headers: head.headers, body: body.to_bytes() }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str) -> Reply {
        self.send("POST", path, &[], Bytes::new()).await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.send("PUT", path, &[], body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], Bytes::new()).await
    }
}
