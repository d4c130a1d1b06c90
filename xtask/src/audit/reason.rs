//! The reasons, as they stand in the source.
//!
//! A reason is a sentence in a comment that begins with the name of the ordering and goes on after a
//! colon: `// Release: pairs with the acquire in take; what was written before is seen there.`
//! Several orderings may share one: `Acquire and Release: ...`. `Plain:` argues for a look at an
//! atomic's memory that is no atomic operation, `Assembly:` for a locked instruction in assembly, and
//! `Gauge:` for a figure that no decision reads and that is shown all the same.
//!
//! The comment stands beside the operation (above its statement, or at the end of its line), above
//! the function, or above the declaration of the atomic.

/// Words that may begin a reason.
const HEADS: &[&str] =
    &["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst", "Plain", "Assembly", "Gauge"];

/// Fewest words that are an argument.
const WORDS: usize = 3;

/// The reason that `comment` gives for `head`.
pub fn find(comment: &str, head: &str) -> Option<String> {
    let text = comment.replace('\n', " ");
    let mut rest = text.as_str();
    let mut start = true;
    while !rest.is_empty() {
        if start && let Some(reason) = sentence(rest, head) {
            return Some(reason);
        }
        // On to the next word, and note whether a sentence begins with it.
        let word = rest.split_whitespace().next().unwrap_or_default();
        start = word.ends_with(['.', ':', ';', ')', '?', '!']);
        rest = rest.trim_start()[word.len()..].trim_start();
    }
    None
}

/// The reason in a sentence that begins here, if its head has this word.
fn sentence(text: &str, head: &str) -> Option<String> {
    let (before, after) = text.trim_start().split_once(':')?;
    let words: Vec<&str> =
        before.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let begins = words.first().is_some_and(|first| HEADS.contains(first));
    if !begins || words.len() > 6 || before.contains('.') || !words.contains(&head) {
        return None;
    }
    let reason = after.trim();
    let reason = match reason.find(". ") {
        Some(end) => &reason[..=end],
        None => reason,
    };
    (reason.split_whitespace().count() >= WORDS).then(|| reason.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_begins_with_its_ordering() {
        let comment = "Bytes in all shards. Relaxed: a hint, the locks decide. More.";
        assert_eq!(find(comment, "Relaxed").as_deref(), Some("a hint, the locks decide"));
        assert_eq!(find(comment, "Acquire"), None);
        let both = "Acquire and Release: the flag's writer\nis seen whole";
        assert_eq!(find(both, "Release").as_deref(), Some("the flag's writer is seen whole"));
        assert_eq!(find(both, "Acquire"), find(both, "Release"));
        assert_eq!(
            find("AcqRel orders the mark. Relaxed: no data\nhangs on it.", "Relaxed").as_deref(),
            Some("no data hangs on it")
        );
    }

    #[test]
    fn an_empty_word_is_no_reason() {
        for comment in [
            "Relaxed",
            "Relaxed:",
            "Relaxed: ok",
            "It is relaxed: as all counters are",
            "see the Relaxed load: it is one",
        ] {
            assert_eq!(find(comment, "Relaxed"), None, "{comment}");
        }
    }
}
