//! All routes, and the document that is generated from them: OpenAPI 3.1 at `/openapi.json`, a page to read it at
//! `/docs`. The page is part of this program and loads nothing from elsewhere.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::front::Shared;
use super::problem::{Code, Problem};
use super::{batch, bulk, classic, events, guard, health, kv, listing, nodes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Chordata",
        description = "A ring of servers that keeps keys and values.\n\nBodies of `/v1/kv/{key}` are plain bytes; errors are \
            JSON with a `code` for programs and a `message` for people. Keys are percent-encoded bytes: a `/` is `%2F`. \
            A server that answers on other addresses than its own machine's wants `Authorization: Bearer TOKEN`.",
    ),
    tags(
        (name = "keys", description = "Keys and values"),
        (name = "ring", description = "The ring and its nodes"),
        (name = "watching", description = "For whoever watches over it"),
        (name = "classic", description = "Key and value in the path, JSON back"),
    ),
)]
struct Document;

/// All routes with a description, and the document of them.
pub(crate) fn routes() -> (Router<Shared>, utoipa::openapi::OpenApi) {
    let mut document = Document::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    document.components.get_or_insert_default().add_security_scheme("token", bearer);
    OpenApiRouter::with_openapi(document)
        .routes(routes!(kv::get, kv::head, kv::put, kv::delete))
        .routes(routes!(listing::list))
        .routes(routes!(batch::batch))
        .routes(routes!(bulk::bulk))
        .routes(routes!(nodes::nodes))
        .routes(routes!(nodes::lookup))
        .routes(routes!(nodes::status))
        .routes(routes!(events::events))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(classic::insert))
        .routes(routes!(classic::query))
        .routes(routes!(classic::delete))
        .routes(routes!(classic::overlay))
        .routes(routes!(classic::depart))
        .routes(routes!(classic::join))
        .split_for_parts()
}

/// The document as JSON.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn text(document: &utoipa::openapi::OpenApi) -> Result<String, serde_json::Error> {
    let mut json = serde_json::to_value(document)?;
    let operations = json["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    let operations = operations.filter_map(|path| path.as_object_mut()).flat_map(|path| path.values_mut());
    let parameters =
        operations.filter_map(|operation| operation.get_mut("parameters")?.as_array_mut()).flatten();
    for kind in parameters.filter_map(|parameter| parameter.get_mut("schema")?.get_mut("type")) {
        // A parameter may be left away. It is never null: there is no such thing in a header or a path.
        if let Some(one) = kind.as_array().and_then(|kinds| kinds.iter().find(|kind| *kind != "null")) {
            *kind = one.clone();
        }
    }
    serde_json::to_string(&json)
}

/// Adds what has no description, and what every request passes.
pub(crate) fn finish(routes: Router<Shared>, front: &Shared) -> Router {
    routes
        .route("/insert/{key}/", post(classic::insert_nothing))
        .route("/openapi.json", get(document))
        .route("/docs", get(page))
        .route("/", get(page))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(front.clone(), guard::pass))
        .with_state(front.clone())
}

async fn no_route(uri: Uri) -> Problem {
    Problem::new(Code::NoSuchRoute, format!("there is no {:?} here: see /docs", uri.path()))
}

async fn no_method(uri: Uri) -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        format!("{} has other methods: see the header Allow, and /docs", uri.path()),
    )
}

async fn document(State(front): State<Shared>) -> Response {
    let mut response = Response::new(Body::from(front.document.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn page() -> Response {
    let mut response = Response::new(Body::from(include_str!("docs.html")));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
        ),
    );
    response
}
