//! Where an SQL statement ends: the prompt sends only complete statements.

/// Whether the text ends with a complete statement: a `;` outside of strings, quoted names and
/// comments, and for a trigger `END;`.
pub(super) fn is_complete(sql: &str) -> bool {
    let mut words: Vec<String> = Vec::new();
    let mut ended = false;
    let mut trigger = false;
    for token in Tokens(sql) {
        match token {
            Token::Semicolon => {
                trigger |= is_trigger(&words);
                ended = !trigger || words.last().is_some_and(|word| word == "END");
                if ended {
                    words.clear();
                    trigger = false;
                }
            }
            Token::Word(word) => {
                ended = false;
                words.push(word.to_ascii_uppercase());
            }
            Token::Other => {
                ended = false;
                words.push(String::new());
            }
            Token::Unfinished => return false,
        }
    }
    ended
}

/// Whether the text holds only space and comments.
pub(super) fn is_blank(sql: &str) -> bool {
    Tokens(sql).next().is_none()
}

fn is_trigger(words: &[String]) -> bool {
    let mut words = words.iter().map(String::as_str);
    let mut next = || words.next().unwrap_or("");
    match next() {
        "CREATE" => match next() {
            "TRIGGER" => true,
            "TEMP" | "TEMPORARY" => next() == "TRIGGER",
            _ => false,
        },
        _ => false,
    }
}

enum Token<'s> {
    Semicolon,
    Word(&'s str),
    Other,
    /// A string, name or comment that has not ended.
    Unfinished,
}

struct Tokens<'s>(&'s str);

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        loop {
            self.0 = self.0.trim_start();
            let first = self.0.chars().next()?;
            let (token, length) = match first {
                ';' => (Token::Semicolon, 1),
                '\'' | '"' | '`' => self.until(1, &first.to_string(), Token::Other),
                '[' => self.until(1, "]", Token::Other),
                '-' if self.0.starts_with("--") => {
                    let length = self.0.find('\n').unwrap_or(self.0.len());
                    self.0 = &self.0[length..];
                    continue;
                }
                '/' if self.0.starts_with("/*") => match self.0[2..].find("*/") {
                    Some(at) => {
                        self.0 = &self.0[at + 4..];
                        continue;
                    }
                    None => (Token::Unfinished, self.0.len()),
                },
                c if is_of_word(c) => {
                    let length = self.0.find(|c| !is_of_word(c)).unwrap_or(self.0.len());
                    (Token::Word(&self.0[..length]), length)
                }
                other => (Token::Other, other.len_utf8()),
            };
            self.0 = &self.0[length..];
            return Some(token);
        }
    }
}

impl<'s> Tokens<'s> {
    /// The end of a token from `start`, at the next `end`. A doubled quote ends one token and
    /// begins the next, with the same result.
    fn until(&self, start: usize, end: &str, token: Token<'s>) -> (Token<'s>, usize) {
        match self.0[start..].find(end) {
            Some(at) => (token, start + at + end.len()),
            None => (Token::Unfinished, self.0.len()),
        }
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        for (sql, expected) in [
            ("SELECT 1;", true),
            ("SELECT 1", false),
            ("SELECT 1; -- and a comment", true),
            ("SELECT 1 -- ;", false),
            ("SELECT ';", false),
            ("SELECT ';';", true),
            ("SELECT 'it''s;';", true),
            ("SELECT \"a;", false),
            ("SELECT [a;] FROM t;", true),
            ("SELECT /* ; */ 1", false),
            ("SELECT 1; /* open", false),
            ("SELECT 1; SELECT", false),
            ("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b;", false),
            ("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END;", true),
            ("create temp trigger t after insert on a begin select 1; end ;", true),
            ("CREATE TABLE trigger_end(a);", true),
            ("", false),
        ] {
            assert_eq!(is_complete(sql), expected, "{sql}");
        }
    }

    #[test]
    fn comments_are_blank() {
        assert!(is_blank(" \n-- nothing\n/* here */"));
        assert!(!is_blank(" ; "));
    }
}
