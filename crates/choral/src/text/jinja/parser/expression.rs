//! The expression grammar, from conditional expressions down to literals; what
//! follows a value is in `postfix.rs`.
//!
//! Each function returns an expression with the height of its tree. Heights
//! are bounded: a long chain such as `a + b + c ..` makes a tall tree without
//! any nesting in the source.

use super::Parser;
use crate::text::jinja::ast::{BinaryOp, CompareOp, Conditional, Const, Expr, UnaryOp};
use crate::text::jinja::error::Result;
use crate::text::jinja::lexer::Tok;

/// Tallest expression tree.
const MAX_HEIGHT: usize = 150;

/// An expression and the height of its tree.
pub(super) type Tall = (Expr, usize);

fn tallest<'e>(parts: impl IntoIterator<Item = &'e Tall>) -> usize {
    parts
        .into_iter()
        .map(|(_, height)| *height)
        .max()
        .unwrap_or(0)
}

fn strip(parts: Vec<Tall>) -> Vec<Expr> {
    parts.into_iter().map(|(expr, _)| expr).collect()
}

impl Parser {
    pub(super) fn expression(&mut self) -> Result<Expr> {
        Ok(self.conditional()?.0)
    }

    /// One expression, or several with commas between them: a tuple.
    pub(super) fn tuple_or_expression(&mut self) -> Result<Expr> {
        Ok(self.maybe_tuple(false)?.0)
    }

    /// What a `for` loops over. An `if` after it belongs to the loop.
    pub(super) fn loop_iterable(&mut self) -> Result<Expr> {
        let first = self.nested(Self::or)?;
        if !self.is_op(",") {
            return Ok(first.0);
        }
        let mut items = vec![first];
        while self.skip_op(",") {
            if *self.peek() == Tok::BlockEnd {
                break;
            }
            items.push(self.nested(Self::or)?);
        }
        Ok(Expr::Tuple(strip(items)))
    }

    /// `name(args)|name2` without a value in front, for filter blocks.
    pub(super) fn filter_chain(&mut self) -> Result<Expr> {
        let mut filters = self.one_filter(None)?;
        while self.skip_op("|") {
            filters = self.one_filter(Some(filters))?;
        }
        Ok(filters.0)
    }

    pub(super) fn taller(&self, height: usize) -> Result<usize> {
        if height >= MAX_HEIGHT {
            return self.error(format!("expression has more than {MAX_HEIGHT} levels"));
        }
        Ok(height + 1)
    }

    fn maybe_tuple(&mut self, parenthesised: bool) -> Result<Tall> {
        let ends = |parser: &Self| {
            matches!(
                parser.peek(),
                Tok::VariableEnd | Tok::BlockEnd | Tok::Op(")")
            )
        };
        let mut items = Vec::new();
        let mut is_tuple = false;
        while !ends(self) {
            items.push(self.conditional()?);
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        if !is_tuple && let Some(only) = items.pop() {
            return Ok(only);
        }
        if !is_tuple && !parenthesised {
            return self.unexpected("an expression");
        }
        let height = self.taller(tallest(&items))?;
        Ok((Expr::Tuple(strip(items)), height))
    }

    pub(super) fn conditional(&mut self) -> Result<Tall> {
        self.nested(|parser| {
            let mut value = parser.or()?;
            while parser.skip_name("if") {
                let condition = parser.or()?;
                let otherwise = if parser.skip_name("else") {
                    Some(parser.conditional()?)
                } else {
                    None
                };
                let height =
                    parser.taller(tallest([&value, &condition].into_iter().chain(&otherwise)))?;
                let conditional = Conditional {
                    condition: condition.0,
                    then: value.0,
                    otherwise: otherwise.map(|(expr, _)| expr),
                };
                value = (Expr::Conditional(Box::new(conditional)), height);
            }
            Ok(value)
        })
    }

    fn or(&mut self) -> Result<Tall> {
        let mut left = self.and()?;
        while self.skip_name("or") {
            let right = self.and()?;
            let height = self.taller(left.1.max(right.1))?;
            left = (Expr::Or(Box::new((left.0, right.0))), height);
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Tall> {
        let mut left = self.not()?;
        while self.skip_name("and") {
            let right = self.not()?;
            let height = self.taller(left.1.max(right.1))?;
            left = (Expr::And(Box::new((left.0, right.0))), height);
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Tall> {
        if !self.skip_name("not") {
            return self.compare();
        }
        let (value, height) = self.nested(Self::not)?;
        let height = self.taller(height)?;
        Ok((Expr::Unary(UnaryOp::Not, Box::new(value)), height))
    }

    fn compare(&mut self) -> Result<Tall> {
        let first = self.sum()?;
        let mut height = first.1;
        let mut rest = Vec::new();
        while let Some(op) = self.compare_op() {
            let operand = self.sum()?;
            height = height.max(operand.1);
            rest.push((op, operand.0));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok((Expr::Compare(Box::new(first.0), rest), self.taller(height)?))
    }

    fn compare_op(&mut self) -> Option<CompareOp> {
        let op = match self.peek() {
            Tok::Op("==") => CompareOp::Eq,
            Tok::Op("!=") => CompareOp::Ne,
            Tok::Op("<") => CompareOp::Lt,
            Tok::Op("<=") => CompareOp::Le,
            Tok::Op(">") => CompareOp::Gt,
            Tok::Op(">=") => CompareOp::Ge,
            Tok::Name(name) if &**name == "in" => CompareOp::In,
            Tok::Name(name) if &**name == "not" => {
                if !matches!(self.look(), Tok::Name(next) if &**next == "in") {
                    return None;
                }
                self.pos += 1;
                CompareOp::NotIn
            }
            _ => return None,
        };
        self.pos += 1;
        Some(op)
    }

    fn binary(
        &mut self,
        ops: &[(&str, BinaryOp)],
        operand: fn(&mut Self) -> Result<Tall>,
    ) -> Result<Tall> {
        let mut left = operand(self)?;
        while let Some(&(symbol, op)) = ops.iter().find(|(symbol, _)| self.is_op(symbol)) {
            self.expect_op(symbol)?;
            let right = operand(self)?;
            let height = self.taller(left.1.max(right.1))?;
            left = (Expr::Binary(op, Box::new((left.0, right.0))), height);
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Tall> {
        self.binary(&[("+", BinaryOp::Add), ("-", BinaryOp::Sub)], Self::concat)
    }

    fn concat(&mut self) -> Result<Tall> {
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_op("~") {
            parts.push(self.product()?);
        }
        let height = self.taller(tallest(&parts))?;
        Ok((Expr::Concat(strip(parts)), height))
    }

    fn product(&mut self) -> Result<Tall> {
        let ops = [
            ("*", BinaryOp::Mul),
            ("/", BinaryOp::Div),
            ("//", BinaryOp::FloorDiv),
            ("%", BinaryOp::Rem),
        ];
        self.binary(&ops, Self::power)
    }

    fn power(&mut self) -> Result<Tall> {
        self.binary(&[("**", BinaryOp::Pow)], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filters: bool) -> Result<Tall> {
        let op = match self.peek() {
            Tok::Op("-") => Some(UnaryOp::Neg),
            Tok::Op("+") => Some(UnaryOp::Pos),
            _ => None,
        };
        let mut value = if let Some(op) = op {
            self.pos += 1;
            let (value, height) = self.nested(|parser| parser.unary(false))?;
            let height = self.taller(height)?;
            (Expr::Unary(op, Box::new(value)), height)
        } else {
            self.primary()?
        };
        value = self.postfix(value)?;
        if with_filters {
            value = self.filters_and_tests(value)?;
        }
        Ok(value)
    }

    pub(super) fn primary(&mut self) -> Result<Tall> {
        let constant = match self.peek().clone() {
            Tok::Name(name) => {
                self.pos += 1;
                match &*name {
                    "true" | "True" => Const::Bool(true),
                    "false" | "False" => Const::Bool(false),
                    "none" | "None" => Const::None,
                    _ => return Ok((Expr::Name(name), 1)),
                }
            }
            Tok::Str(first) => {
                self.pos += 1;
                let mut text = first;
                while let Tok::Str(more) = self.peek() {
                    text = format!("{text}{more}").into();
                    self.pos += 1;
                }
                Const::Str(text)
            }
            Tok::Int(value) => {
                self.pos += 1;
                Const::Int(value)
            }
            Tok::Float(value) => {
                self.pos += 1;
                Const::Float(value)
            }
            Tok::Op("(") => {
                self.pos += 1;
                let value = self.maybe_tuple(true)?;
                self.expect_op(")")?;
                return Ok(value);
            }
            Tok::Op("[") => return self.list(),
            Tok::Op("{") => return self.dict(),
            _ => return self.unexpected("an expression"),
        };
        Ok((Expr::Const(constant), 1))
    }

    fn list(&mut self) -> Result<Tall> {
        self.pos += 1;
        let mut items = Vec::new();
        while !self.is_op("]") {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.is_op("]") {
                    break;
                }
            }
            items.push(self.conditional()?);
        }
        self.expect_op("]")?;
        let height = self.taller(tallest(&items))?;
        Ok((Expr::List(strip(items)), height))
    }

    fn dict(&mut self) -> Result<Tall> {
        self.pos += 1;
        let mut height = 0;
        let mut entries = Vec::new();
        while !self.is_op("}") {
            if !entries.is_empty() {
                self.expect_op(",")?;
                if self.is_op("}") {
                    break;
                }
            }
            let key = self.conditional()?;
            self.expect_op(":")?;
            let value = self.conditional()?;
            height = height.max(key.1).max(value.1);
            entries.push((key.0, value.0));
        }
        self.expect_op("}")?;
        Ok((Expr::Dict(entries), self.taller(height)?))
    }
}
