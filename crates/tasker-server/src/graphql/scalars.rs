//! What GraphQL has no type of its own for, and pages as Relay has them.

use std::sync::Arc;

use async_graphql::{
    Context, InputValueError, InputValueResult, OutputType, Scalar, ScalarType, Value,
    connection::{Connection, Edge},
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tasker::json;

use super::loaders::Loads;
use crate::{
    answer::{MAX_PAGE, PAGE, limit},
    problem::Problem,
};

/// Any JSON, as it is stored.
#[derive(Clone)]
pub(crate) struct Json(Arc<RawValue>);

impl From<&RawValue> for Json {
    fn from(raw: &RawValue) -> Json {
        Json(Arc::from(raw.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Json(raw.into()))
    }
}

impl Json {
    /// Its text.
    pub fn raw(&self) -> &RawValue {
        &self.0
    }
}

/// Any JSON. What comes out is as it was stored.
#[Scalar(name = "JSON")]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        let raw = json::encode(&value).map_err(|why| InputValueError::custom(why).with_extension("code", "json"))?;
        Ok(Json::from(&*raw))
    }

    fn to_value(&self) -> Value {
        // it is written as the text that it is
        async_graphql::to_value(&*self.0).unwrap_or_default()
    }
}

/// A whole number of 64 bits.
#[derive(Clone, Copy)]
pub(super) struct BigInt(pub i64);

/// A whole number of 64 bits.
#[Scalar(name = "BigInt")]
impl ScalarType for BigInt {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => number.as_i64().map(BigInt).ok_or_else(|| InputValueError::expected_type(value)),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        self.0.into()
    }
}

/// What a query has loaded.
pub(super) fn loads<'a>(context: &Context<'a>) -> &'a Loads {
    context.data_unchecked::<Arc<Loads>>()
}

/// How much a page of things costs, each of which costs so much: for the limit on complexity.
pub(super) fn cost(first: Option<i32>, of_each: usize) -> usize {
    let size = first.map_or(PAGE, i64::from).clamp(1, MAX_PAGE) as usize;
    1 + size.saturating_mul(of_each)
}

/// A page's size.
pub(super) fn size(first: Option<i32>) -> Result<i64, Problem> {
    limit(first.map(i64::from))
}

/// What stands behind a cursor.
pub(super) fn place<T>(after: Option<String>, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
    let bad = || {
        Problem::bad("bad_cursor", "after is the endCursor of a page, or the cursor of one of its edges, as it came")
    };
    after.map(|text| read(&text).ok_or_else(bad)).transpose()
}

/// A page of things, which were asked for with one more than its size: the one too many says that there are more.
pub(super) fn page<T, N: OutputType>(
    loads: &Loads,
    items: impl IntoIterator<Item = T>,
    size: i64,
    is_after: bool,
    edge: impl Fn(T) -> (String, N),
) -> Result<Connection<String, N>, Problem> {
    let mut edges: Vec<Edge<String, N, _>> = items
        .into_iter()
        .map(|item| {
            let (cursor, node) = edge(item);
            Edge::new(cursor, node)
        })
        .collect();
    let is_more = edges.len() as i64 > size;
    edges.truncate(size as usize);
    loads.count(edges.len())?;
    let mut page = Connection::new(is_after, is_more);
    page.edges = edges;
    Ok(page)
}
