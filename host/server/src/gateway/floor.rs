//! The commit that a request asks for with `stockade-txid`: its answer is never older than that.

use axum::http::{HeaderMap, HeaderName};
use stockade::Txid;
use stockade::error::Code;

use super::TXID_HEADER;
use super::reply::Refusal;

/// The commit that a request asks for; 0: any will do.
///
/// # Errors
/// The field does not read, or comes several times.
pub(super) fn of(headers: &HeaderMap) -> Result<Txid, Refusal> {
    let mut all = headers.get_all(TXID_HEADER).iter();
    let Some(first) = all.next() else { return Ok(Txid(0)) };
    let number = first.to_str().ok().filter(|_| all.next().is_none());
    let number = number.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|text| text.parse().ok()).map(Txid).ok_or_else(|| {
        let field = HeaderName::from_static(TXID_HEADER);
        let words = "it is the number of a commit, as an earlier answer had it";
        Refusal::of_field(Code::Malformed, &field, words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Txid, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TXID_HEADER, value.parse().expect("a value"));
        }
        of(&headers)
    }

    #[test]
    fn a_commit_is_one_number() {
        assert_eq!(read(&[]).expect("none"), Txid(0));
        assert_eq!(read(&["7"]).expect("reads"), Txid(7));
        assert_eq!(read(&["18446744073709551615"]).expect("reads"), Txid(u64::MAX));
        for wrong in [&["-1"][..], &["+1"], &["1.5"], &[""], &["x"], &["1", "1"]] {
            let refusal = read(wrong).expect_err("is refused");
            assert_eq!(refusal.code(), Code::Malformed, "{wrong:?}");
        }
        assert!(read(&["18446744073709551616"]).is_err(), "one more than there can be");
    }
}
