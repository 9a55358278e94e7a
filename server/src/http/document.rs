//! All routes, and the document that is generated from them: OpenAPI 3.1 at `/openapi.json`, a page to read it at
//! `/docs`. The page is part of this program and loads nothing from elsewhere.

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::http::{HeaderValue, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::of_kind;
use super::front::Shared;
use super::problem::{Code, Problem};
use super::{batch, bulk, classic, conditions, events, files, guard, health, kv, listing, nodes};

/// Headers whose form is [`conditions::PATTERN`].
const CONDITIONS: [&str; 2] = ["If-Match", "If-None-Match"];

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
        (name = "files", description = "Files of any size"),
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
        .routes(routes!(files::read::get, files::read::head, files::store::put, files::delete))
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
    for operation in operations {
        let parameters = operation.get_mut("parameters").and_then(|all| all.as_array_mut());
        for parameter in parameters.into_iter().flatten() {
            let is_condition = parameter["name"].as_str().is_some_and(|name| CONDITIONS.contains(&name));
            let Some(schema) = parameter.get_mut("schema") else { continue };
            never_null(schema);
            if is_condition {
                schema["pattern"] = conditions::PATTERN.into();
            }
        }
        let bodies = operation.pointer_mut("/requestBody/content").and_then(|kinds| kinds.as_object_mut());
        bodies
            .into_iter()
            .flat_map(|kinds| kinds.values_mut())
            .for_each(|kind| never_null(&mut kind["schema"]));
    }
    serde_json::to_string(&json)
}

/// Parameters and bodies may be left away; they are never null: there is no such thing in a header or a path, and a body
/// of `null` is none.
fn never_null(schema: &mut Value) {
    let is_null = |kind: &Value| *kind == "null" || kind.get("type").is_some_and(|kind| *kind == "null");
    if let Some(kinds) = schema.get("type").and_then(Value::as_array)
        && let Some(one) = kinds.iter().find(|kind| !is_null(kind)).cloned()
    {
        schema["type"] = one;
    }
    if let Some(kinds) = schema.get("oneOf").and_then(Value::as_array)
        && let Some(one) = kinds.iter().find(|kind| !is_null(kind)).cloned()
    {
        *schema = one;
    }
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
    of_kind("application/json", front.document.clone())
}

async fn page() -> Response {
    let mut response = of_kind("text/html; charset=utf-8", include_str!("docs.html"));
    let policy = HeaderValue::from_static(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    );
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_what_is_taken() {
        let json: Value = serde_json::from_str(&text(&routes().1).unwrap()).unwrap();
        let put = &json["paths"]["/v1/kv/{key}"]["put"];
        let parameters = put["parameters"].as_array().unwrap();
        for name in CONDITIONS {
            let condition = parameters.iter().find(|parameter| parameter["name"] == name).unwrap();
            assert_eq!(condition["schema"]["type"], "string");
            assert_eq!(condition["schema"]["pattern"], conditions::PATTERN);
            assert_eq!(condition["schema"].get("minLength"), None, "an empty list is a list");
        }
        for (path, method, kind) in [
            ("/v1/kv/{key}", "put", "application/octet-stream"),
            ("/v1/files/{name}", "put", "application/octet-stream"),
            ("/v1/bulk", "post", "application/x-ndjson"),
        ] {
            let body = &json["paths"][path][method]["requestBody"];
            assert_ne!(body["required"], true, "{path}: nothing is a body, too");
            let schema = &body["content"][kind]["schema"];
            assert!(schema["$ref"].is_string(), "{path}: {schema}");
        }
    }
}
