//! Any template is refused, or comes to an end, whatever it does.
#![no_main]

use std::{collections::BTreeMap, sync::Arc};

use libfuzzer_sys::fuzz_target;
use serde_json::value::to_raw_value;
use tasker::{
    place::Place,
    template::{self, Form, Scope},
};

fuzz_target!(|source: &str| {
    for form in [Form::Text, Form::Expression] {
        let analysis = template::analyse(source, form, &[]);
        if analysis.faults.is_empty() {
            let value = serde_json::json!({ "item": "teapot", "amount": 3, "list": [1, [2], {"x": null}], "text": "<ä>" });
            let input = Arc::from(to_raw_value(&value).unwrap());
            let results = Arc::new(BTreeMap::from([("a".to_string(), to_raw_value(&value).unwrap())]));
            let _ = template::evaluate(Place::Root, source, &Scope::new(input, results));
        }
    }
});
