//! "Did you mean ..?": the known word that someone most likely wanted to write.

/// The candidate nearest to `word`: at most a third of its letters (at least one) differ, are missing, or are swapped.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let allowed = (length / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= allowed * 4)
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed && *distance < length)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean `charge`?`, or nothing where no candidate is near.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map(|found| format!("; did you mean `{found}`?")).unwrap_or_default()
}

/// `` `a`, `b` and `c` ``, for sentences that list what is known.
pub fn list<S: AsRef<str>>(words: &[S]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "nothing".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(closest("chrage", ["reserve", "charge", "ship"]), Some("charge"));
        assert_eq!(closest("comand", ["command", "sleep"]), Some("command"));
        assert_eq!(closest("ab", ["xy"]), None);
        assert_eq!(closest("x", ["a"]), None);
        assert_eq!(closest("refund", ["reserve", "charge", "ship"]), None);
        assert_eq!(did_you_mean("shp", ["ship"]), "; did you mean `ship`?");
        assert_eq!(did_you_mean("refund", ["ship"]), "");
    }

    #[test]
    fn a_list_reads_as_a_sentence() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
