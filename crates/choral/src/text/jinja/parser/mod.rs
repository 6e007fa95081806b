//! Turns tokens into statements; expressions are in `expression.rs` and
//! `postfix.rs`.
//!
//! Accepts what jinja2 accepts in transformers' chat-template environment:
//! the core tags, loop controls and `generation`. Tags that load other
//! templates are refused by name, as there is nothing to load from. Nesting is
//! bounded, so that neither parsing, rendering nor dropping a template can
//! exhaust the stack.
//!
//! Source: jinja2 `parser.py`.

mod expression;
mod postfix;

use std::sync::Arc;

use super::ast::{Expr, For, Macro, Stmt, StmtKind, Target};
use super::error::{Error, Result};
use super::lexer::{Tok, Token, tokenize};

/// Deepest nesting of statements and parentheses while parsing.
const MAX_NESTING: usize = 100;

/// Parses a whole template.
pub(crate) fn parse(source: &str) -> Result<Vec<Stmt>> {
    let mut parser = Parser {
        tokens: tokenize(source)?,
        pos: 0,
        nesting: 0,
        loops: 0,
    };
    let body = parser.statements(&[])?;
    Ok(body)
}

struct Parser {
    tokens: Vec<Token>,
    pos: usize,
    nesting: usize,
    /// Loops around the statement being parsed, within its macro.
    loops: usize,
}

impl Parser {
    fn peek(&self) -> &Tok {
        &self.tokens[self.pos].tok
    }

    fn look(&self) -> &Tok {
        &self.tokens[(self.pos + 1).min(self.tokens.len() - 1)].tok
    }

    fn line(&self) -> usize {
        self.tokens[self.pos].line
    }

    fn next(&mut self) -> Tok {
        let tok = self.peek().clone();
        // `End` is never passed, so `pos` stays inside.
        if tok != Tok::End {
            self.pos += 1;
        }
        tok
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::syntax(self.line(), message))
    }

    fn unexpected<T>(&self, expected: &str) -> Result<T> {
        self.error(format!(
            "expected {expected}, found {}",
            describe(self.peek())
        ))
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Tok::Op(found) if *found == op)
    }

    fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.pos += 1;
        }
        found
    }

    fn expect_op(&mut self, op: &str) -> Result<()> {
        if self.skip_op(op) {
            return Ok(());
        }
        self.unexpected(&format!("'{op}'"))
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Tok::Name(found) if &**found == name)
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.pos += 1;
        }
        found
    }

    fn expect_name(&mut self) -> Result<Arc<str>> {
        if let Tok::Name(name) = self.peek() {
            let name = Arc::clone(name);
            self.pos += 1;
            return Ok(name);
        }
        self.unexpected("a name")
    }

    fn expect(&mut self, tok: &Tok) -> Result<()> {
        if self.peek() == tok {
            self.pos += 1;
            return Ok(());
        }
        self.unexpected(describe(tok).as_str())
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.nesting >= MAX_NESTING {
            return self.error(format!("nested deeper than {MAX_NESTING} levels"));
        }
        self.nesting += 1;
        let result = parse(self);
        self.nesting -= 1;
        result
    }

    /// Statements up to one of the tags in `ends` (or the end of the template
    /// when there are none). Stops at the name inside the ending tag.
    fn statements(&mut self, ends: &[&str]) -> Result<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.peek() {
                Tok::Data(text) => {
                    let kind = StmtKind::Data(Arc::clone(text));
                    self.pos += 1;
                    body.push(Stmt { line, kind });
                }
                Tok::VariableBegin => {
                    self.pos += 1;
                    let kind = StmtKind::Emit(self.tuple_or_expression()?);
                    self.expect(&Tok::VariableEnd)?;
                    body.push(Stmt { line, kind });
                }
                Tok::BlockBegin => {
                    if let Tok::Name(name) = self.look()
                        && ends.contains(&&**name)
                    {
                        self.pos += 1;
                        return Ok(body);
                    }
                    self.pos += 1;
                    let kind = self.nested(Self::tag)?;
                    self.expect(&Tok::BlockEnd)?;
                    body.push(Stmt { line, kind });
                }
                Tok::End if ends.is_empty() => return Ok(body),
                _ => {
                    let ends: Vec<_> = ends.iter().map(|end| format!("'{end}'")).collect();
                    return self.unexpected(&ends.join(" or "));
                }
            }
        }
    }

    /// A body that runs to the tag `end`; leaves the parser at that tag's end.
    fn body_until(&mut self, end: &str) -> Result<Vec<Stmt>> {
        self.expect(&Tok::BlockEnd)?;
        let body = self.statements(&[end])?;
        self.pos += 1;
        Ok(body)
    }

    fn tag(&mut self) -> Result<StmtKind> {
        let name = self.expect_name()?;
        match &*name {
            "for" => self.for_loop(),
            "if" => self.if_block(),
            "set" => self.set(),
            "macro" => self.macro_block(),
            "call" => self.call_block(),
            "with" => self.with_block(),
            "filter" => {
                let filters = self.filter_chain()?;
                Ok(StmtKind::FilterBlock(
                    filters,
                    self.body_until("endfilter")?,
                ))
            }
            "generation" => Ok(StmtKind::Scope(self.body_until("endgeneration")?)),
            "block" => self.block(),
            "print" => Ok(StmtKind::Emit(self.tuple_or_expression()?)),
            "break" | "continue" if self.loops == 0 => {
                self.error(format!("'{name}' outside of a loop"))
            }
            "break" => Ok(StmtKind::Break),
            "continue" => Ok(StmtKind::Continue),
            "include" | "import" | "from" | "extends" => self.error(format!(
                "'{name}' is not available: a chat template has no other templates to load"
            )),
            _ => self.error(format!("unknown tag '{name}'")),
        }
    }

    fn for_loop(&mut self) -> Result<StmtKind> {
        let target = self.target(true)?;
        if !self.skip_name("in") {
            return self.unexpected("'in'");
        }
        let iterable = self.loop_iterable()?;
        let condition = if self.skip_name("if") {
            Some(self.expression()?)
        } else {
            None
        };
        let recursive = self.skip_name("recursive");
        self.expect(&Tok::BlockEnd)?;
        self.loops += 1;
        let body = self.statements(&["endfor", "else"]);
        self.loops -= 1;
        let body = body?;
        let otherwise = if self.skip_name("else") {
            self.expect(&Tok::BlockEnd)?;
            let otherwise = self.statements(&["endfor"])?;
            self.pos += 1;
            otherwise
        } else {
            self.pos += 1;
            Vec::new()
        };
        Ok(StmtKind::For(For {
            target,
            iterable,
            condition,
            recursive,
            body,
            otherwise,
        }))
    }

    fn if_block(&mut self) -> Result<StmtKind> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple_or_expression()?;
            self.expect(&Tok::BlockEnd)?;
            let body = self.statements(&["elif", "else", "endif"])?;
            branches.push((Some(condition), body));
            if self.skip_name("elif") {
                continue;
            }
            if self.skip_name("else") {
                self.expect(&Tok::BlockEnd)?;
                branches.push((None, self.statements(&["endif"])?));
            }
            self.pos += 1;
            return Ok(StmtKind::If(branches));
        }
    }

    fn set(&mut self) -> Result<StmtKind> {
        let target = self.target(false)?;
        if self.skip_op("=") {
            return Ok(StmtKind::Set(target, self.tuple_or_expression()?));
        }
        let filters = if self.skip_op("|") {
            Some(self.filter_chain()?)
        } else {
            None
        };
        Ok(StmtKind::SetBlock(
            target,
            filters,
            self.body_until("endset")?,
        ))
    }

    fn macro_block(&mut self) -> Result<StmtKind> {
        let name = self.expect_name()?;
        let params = self.signature()?;
        let body = self.macro_body("endmacro")?;
        Ok(StmtKind::Macro(Macro { name, params, body }))
    }

    fn call_block(&mut self) -> Result<StmtKind> {
        let params = if self.is_op("(") {
            self.signature()?
        } else {
            Vec::new()
        };
        let callee = self.expression()?;
        if !matches!(callee, Expr::Call(_)) {
            return self.unexpected("a call");
        }
        let caller = Macro {
            name: "caller".into(),
            params,
            body: self.macro_body("endcall")?,
        };
        Ok(StmtKind::Call(caller, callee))
    }

    /// A body with no loop around it: `break` may not leave a macro.
    fn macro_body(&mut self, end: &str) -> Result<Vec<Stmt>> {
        let outer_loops = std::mem::take(&mut self.loops);
        let body = self.body_until(end);
        self.loops = outer_loops;
        body
    }

    fn signature(&mut self) -> Result<Vec<(Arc<str>, Option<Expr>)>> {
        self.expect_op("(")?;
        let mut params: Vec<(Arc<str>, Option<Expr>)> = Vec::new();
        while !self.is_op(")") {
            if !params.is_empty() {
                self.expect_op(",")?;
            }
            let name = self.expect_name()?;
            let default = if self.skip_op("=") {
                Some(self.expression()?)
            } else if params.last().is_some_and(|(_, default)| default.is_some()) {
                return self.error("parameter without default after one with a default");
            } else {
                None
            };
            params.push((name, default));
        }
        self.pos += 1;
        Ok(params)
    }

    fn with_block(&mut self) -> Result<StmtKind> {
        let mut assignments = Vec::new();
        while *self.peek() != Tok::BlockEnd {
            if !assignments.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.simple_target()?;
            self.expect_op("=")?;
            assignments.push((target, self.expression()?));
        }
        Ok(StmtKind::With(assignments, self.body_until("endwith")?))
    }

    fn block(&mut self) -> Result<StmtKind> {
        let name = self.expect_name()?;
        let _ = self.skip_name("scoped");
        let body = self.body_until("endblock")?;
        if let Tok::Name(end) = self.peek() {
            if *end != name {
                return self.unexpected(&format!("'{name}'"));
            }
            self.pos += 1;
        }
        Ok(StmtKind::Scope(body))
    }

    /// A name, `namespace.attribute` (not in loops) or several names.
    fn target(&mut self, in_loop: bool) -> Result<Target> {
        if !in_loop && let (Tok::Name(namespace), Tok::Op(".")) = (self.peek(), self.look()) {
            let namespace = Arc::clone(namespace);
            self.pos += 2;
            return Ok(Target::Attr(namespace, self.expect_name()?));
        }
        let first = self.simple_target()?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut targets = vec![first];
        while self.skip_op(",") {
            if self.is_name("in") || self.is_op("=") {
                break;
            }
            targets.push(self.simple_target()?);
        }
        Ok(Target::Tuple(targets))
    }

    fn simple_target(&mut self) -> Result<Target> {
        if self.skip_op("(") {
            let target = self.nested(|parser| parser.target(true))?;
            self.expect_op(")")?;
            return Ok(target);
        }
        let name = self.expect_name()?;
        if matches!(
            &*name,
            "true" | "false" | "none" | "True" | "False" | "None"
        ) {
            self.pos -= 1;
            return self.unexpected("a name to assign to");
        }
        Ok(Target::Name(name))
    }
}

fn describe(tok: &Tok) -> String {
    match tok {
        Tok::Data(_) => "text".into(),
        Tok::BlockBegin => "'{%'".into(),
        Tok::BlockEnd => "'%}'".into(),
        Tok::VariableBegin => "'{{'".into(),
        Tok::VariableEnd => "'}}'".into(),
        Tok::Name(name) => format!("'{name}'"),
        Tok::Str(_) => "a string".into(),
        Tok::Int(_) | Tok::Float(_) => "a number".into(),
        Tok::Op(op) => format!("'{op}'"),
        Tok::End => "the end of the template".into(),
    }
}
