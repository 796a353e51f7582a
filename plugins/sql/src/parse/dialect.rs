//! What ksqlDB writes differently from the SQL that sqlparser knows.
//!
//! Names are quoted with backquotes or double quotes, text with single ones. Words that are no operators can name a field or
//! a function, whatever they mean in other dialects. `->` takes a field out of a struct and binds more tightly
//! than arithmetic; `=>` makes a lambda and `:=` a member of a map or a struct.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Ident, ObjectName, Subscript,
    helpers::attached_token::AttachedToken,
};
use sqlparser::dialect::Dialect as SqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Word};

/// The dialect.
#[derive(Debug)]
pub struct Dialect;

/// `->` and `[..]` bind most tightly.
const ACCESS: u8 = 60;
/// How many `->` may follow each other.
const ARROWS_MAX: usize = 50;
/// `||` binds a little less tightly than `+`.
const CONCAT: u8 = 29;

impl SqlDialect for Dialect {
    fn is_delimited_identifier_start(&self, letter: char) -> bool {
        letter == '`' || letter == '"'
    }

    fn is_identifier_start(&self, letter: char) -> bool {
        letter.is_alphabetic() || letter == '_'
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        letter.is_alphanumeric() || letter == '_' || letter == '@'
    }

    fn supports_numeric_prefix(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_assignment_operator(&self) -> bool {
        true
    }

    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        true
    }

    fn is_select_item_alias(&self, explicit: bool, keyword: &sqlparser::keywords::Keyword, _: &mut Parser<'_>) -> bool {
        explicit || *keyword != sqlparser::keywords::Keyword::FROM
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let Token::Word(word) = &parser.peek_token_ref().token else { return None };
        let (word, span) = (word.clone(), parser.peek_token_ref().span);
        let keyword = if word.quote_style.is_some() { String::new() } else { word.value.to_uppercase() };
        let called = parser.peek_nth_token_ref(1).token == Token::LParen;
        let array = parser.peek_nth_token_ref(1).token == Token::LBracket;
        match keyword.as_str() {
            "TRUE" | "FALSE" | "NULL" => return Some(parser.parse_value().map(Expr::Value)),
            "SELECT" | "FROM" | "WHERE" => return Some(parser.expected_ref("an expression", parser.peek_token_ref())),
            "CASE" | "NOT" => {}
            "CAST" if called => {}
            "ARRAY" if array => {}
            _ => {
                parser.advance_token();
                let name = word.into_ident(span);
                return Some(if called {
                    parser.parse_function(ObjectName::from(vec![name]))
                } else {
                    Ok(Expr::Identifier(name))
                });
            }
        }
        parser.advance_token();
        Some(match keyword.as_str() {
            "CASE" => parser.parse_case_expr(),
            "NOT" => parser.parse_not(),
            "CAST" => cast(parser),
            _ => parser.expect_token(&Token::LBracket).and_then(|_| parser.parse_array_expr(true)),
        })
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        match &parser.peek_token_ref().token {
            Token::Arrow | Token::LBracket => Some(Ok(ACCESS)),
            Token::StringConcat => Some(Ok(CONCAT)),
            // Not operators here: they part the names of arguments from their values.
            Token::Assignment | Token::RArrow => Some(Ok(self.prec_unknown())),
            Token::Word(Word { quote_style: None, value, .. }) if is_foreign_operator(value) => {
                Some(Ok(self.prec_unknown()))
            }
            _ => None,
        }
    }

    fn parse_infix(&self, parser: &mut Parser<'_>, left: &Expr, _: u8) -> Option<Result<Expr, ParserError>> {
        match parser.peek_token_ref().token {
            Token::Arrow => Some(member(parser, left)),
            Token::LBracket => Some(index(parser, left)),
            _ => None,
        }
    }
}

/// Words that are operators in other dialects, and may well be the names of aliases here.
fn is_foreign_operator(word: &str) -> bool {
    const WORDS: [&str; 12] =
        ["XOR", "OVERLAPS", "ILIKE", "RLIKE", "REGEXP", "MATCH", "GLOB", "SIMILAR", "MEMBER", "OPERATOR", "DIV", "AT"];
    WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// `left->name`, and `left->*` for all members.
fn member(parser: &mut Parser<'_>, left: &Expr) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::Arrow)?;
    let (mut levels, mut first) = (0, left);
    while let Expr::BinaryOp { left, op: BinaryOperator::Arrow, .. } = first {
        (levels, first) = (levels + 1, left);
    }
    if levels > ARROWS_MAX {
        return parser.expected("an end of the arrows: there are too many", parser.get_current_token().clone());
    }
    let token = parser.next_token();
    let right = match token.token {
        Token::Mul => Expr::Wildcard(AttachedToken(token)),
        Token::Word(word) => Expr::Identifier(word.into_ident(token.span)),
        _ => return parser.expected("the name of a field after ->", token),
    };
    Ok(Expr::BinaryOp { left: Box::new(left.clone()), op: BinaryOperator::Arrow, right: Box::new(right) })
}

/// `left[place]` where sqlparser does not look for one.
fn index(parser: &mut Parser<'_>, left: &Expr) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LBracket)?;
    let index = parser.parse_expr()?;
    parser.expect_token(&Token::RBracket)?;
    let access_chain = vec![AccessExpr::Subscript(Subscript::Index { index })];
    Ok(Expr::CompoundFieldAccess { root: Box::new(left.clone()), access_chain })
}

/// `CAST(value AS type)`. The type is kept as text: sqlparser does not know ksqlDB's nested types.
fn cast(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let value = parser.parse_expr()?;
    parser.expect_keyword(sqlparser::keywords::Keyword::AS)?;
    let span = parser.peek_token_ref().span;
    let (mut text, mut depth) = (String::new(), 0u32);
    loop {
        let token = parser.next_token();
        match &token.token {
            Token::RParen if depth == 0 => break,
            Token::EOF => return parser.expected(") after the type", token),
            Token::RParen => depth -= 1,
            Token::LParen => depth += 1,
            _ => {}
        }
        text.push_str(&token.token.to_string());
        text.push(' ');
    }
    let name = ObjectName::from(vec![Ident::with_span(span, text)]);
    Ok(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(value),
        data_type: DataType::Custom(name, vec![]),
        format: None,
    })
}
