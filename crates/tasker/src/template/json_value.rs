//! From a template's value to JSON: only what JSON has, within the limits of [`crate::json`].

use minijinja::{Value, value::ValueKind};
use serde_json::{Map, Number, Value as Json};

use super::{MAX_VALUE_BYTES, TemplateError, error_at};
use crate::{json, place::Place};

/// Turns a value into JSON, taking the bytes of its text (roughly) from `bytes_left`. The whole `with` that it becomes
/// a part of at its place is no deeper than other JSON.
pub(super) fn to_json(value: &Value, place: Place, bytes_left: &mut usize) -> Result<Json, TemplateError> {
    let depth_within = place.depth().saturating_sub(1); // `with` itself is the root
    convert(value, place, bytes_left, json::MAX_DEPTH.saturating_sub(depth_within))
}

/// Takes `bytes` from what is left.
pub(super) fn spend(bytes_left: &mut usize, bytes: usize, place: &Place) -> Result<(), TemplateError> {
    match bytes_left.checked_sub(bytes) {
        Some(left) => *bytes_left = left,
        None => return Err(error_at(place, format!("the rendered value is larger than {MAX_VALUE_BYTES} bytes"))),
    }
    Ok(())
}

fn convert(value: &Value, place: Place, bytes_left: &mut usize, depth_left: usize) -> Result<Json, TemplateError> {
    let deeper = || {
        let too_deep = || error_at(&place, format!("the value is nested more than {} levels deep", json::MAX_DEPTH));
        depth_left.checked_sub(1).ok_or_else(too_deep)
    };
    let iterate = || value.try_iter().map_err(|error| error_at(&place, error.to_string()));
    spend(bytes_left, 2, &place)?;
    Ok(match value.kind() {
        ValueKind::None => Json::Null,
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => Json::Number(number(value).ok_or_else(|| {
            error_at(
                &place,
                format!("{value} is not a number that JSON can hold: integers have 64 bits, others are finite"),
            )
        })?),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            spend(bytes_left, text.len(), &place)?;
            Json::String(text.into())
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let depth_left = deeper()?;
            let mut items = Vec::new();
            for (index, item) in iterate()?.enumerate() {
                items.push(convert(&item, place.element(index), bytes_left, depth_left)?);
            }
            Json::Array(items)
        }
        ValueKind::Map => {
            let depth_left = deeper()?;
            let mut members = Map::new();
            for key in iterate()? {
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_string);
                spend(bytes_left, name.len() + 2, &place)?;
                let member = value.get_item(&key).map_err(|error| error_at(&place, error.to_string()))?;
                let member = convert(&member, place.member(&name), bytes_left, depth_left)?;
                members.insert(name, member);
            }
            Json::Object(members)
        }
        ValueKind::Undefined => return Err(error_at(&place, "this part of the value is undefined")),
        kind => return Err(error_at(&place, format!("the value is a {kind}, which JSON does not have ({value})"))),
    })
}

fn number(value: &Value) -> Option<Number> {
    if value.is_integer() {
        let integer = i128::try_from(value.clone()).ok()?;
        return i64::try_from(integer).map(Number::from).or_else(|_| u64::try_from(integer).map(Number::from)).ok();
    }
    f64::try_from(value.clone()).ok().and_then(Number::from_f64)
}
