//! The expression grammar, from conditional expressions down to literals.
//!
//! Each function returns an expression with the height of its tree. Heights
//! are bounded: a long chain such as `a + b + c ..` makes a tall tree without
//! any nesting in the source.

use std::sync::Arc;

use super::Parser;
use crate::text::jinja::ast::{
    Args, BinaryOp, CompareOp, Conditional, Const, Expr, Filter, Slice, Test, UnaryOp,
};
use crate::text::jinja::error::Result;
use crate::text::jinja::lexer::Tok;

/// Tallest expression tree.
const MAX_HEIGHT: usize = 150;

/// An expression and the height of its tree.
type Tall = (Expr, usize);

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

    fn taller(&self, height: usize) -> Result<usize> {
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

    fn conditional(&mut self) -> Result<Tall> {
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

    fn postfix(&mut self, mut value: Tall) -> Result<Tall> {
        loop {
            value = match self.peek() {
                Tok::Op(".") => self.attribute(value)?,
                Tok::Op("[") => self.subscript(value)?,
                Tok::Op("(") => self.call(value)?,
                _ => return Ok(value),
            };
        }
    }

    fn filters_and_tests(&mut self, mut value: Tall) -> Result<Tall> {
        loop {
            value = match self.peek() {
                Tok::Op("|") => {
                    self.pos += 1;
                    self.one_filter(Some(value))?
                }
                Tok::Name(name) if &**name == "is" => {
                    self.pos += 1;
                    self.test(value)?
                }
                Tok::Op("(") => self.call(value)?,
                _ => return Ok(value),
            };
        }
    }

    fn primary(&mut self) -> Result<Tall> {
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

    fn attribute(&mut self, (value, height): Tall) -> Result<Tall> {
        self.pos += 1;
        let height = self.taller(height)?;
        let value = match self.next() {
            Tok::Name(name) => Expr::Attr(Box::new(value), name),
            Tok::Int(index) => Expr::Item(Box::new((value, Expr::Const(Const::Int(index))))),
            _ => {
                self.pos -= 1;
                return self.unexpected("an attribute name");
            }
        };
        Ok((value, height))
    }

    fn subscript(&mut self, (value, mut height): Tall) -> Result<Tall> {
        self.pos += 1;
        let mut parts: [Option<Expr>; 3] = [None, None, None];
        let mut colons = 0;
        while !self.is_op("]") {
            if self.skip_op(":") {
                colons += 1;
                if colons > 2 {
                    return self.unexpected("']'");
                }
                continue;
            }
            if parts[colons].is_some() {
                return self.unexpected("']'");
            }
            let (part, part_height) = self.conditional()?;
            height = height.max(part_height);
            parts[colons] = Some(part);
        }
        self.expect_op("]")?;
        let height = self.taller(height)?;
        let [start, stop, step] = parts;
        if colons == 0 {
            let Some(index) = start else {
                self.pos -= 1;
                return self.unexpected("a subscript");
            };
            return Ok((Expr::Item(Box::new((value, index))), height));
        }
        let slice = Slice {
            value,
            start,
            stop,
            step,
        };
        Ok((Expr::Slice(Box::new(slice)), height))
    }

    fn call(&mut self, (callee, height): Tall) -> Result<Tall> {
        let (args, args_height) = self.args()?;
        let height = self.taller(height.max(args_height))?;
        Ok((Expr::Call(Box::new((callee, args))), height))
    }

    fn args(&mut self) -> Result<(Args, usize)> {
        self.expect_op("(")?;
        let mut args = Args::default();
        let mut height = 0;
        let mut first = true;
        while !self.is_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            first = false;
            let name = match (self.peek(), self.look()) {
                (Tok::Name(name), Tok::Op("=")) => Some(Arc::clone(name)),
                _ => None,
            };
            let slot = if self.skip_op("*") {
                Some(&mut args.star)
            } else if self.skip_op("**") {
                Some(&mut args.double_star)
            } else {
                None
            };
            if let Some(slot) = slot {
                if slot.is_some() {
                    return self.error("more than one '*' argument of a kind");
                }
                let (value, value_height) = self.conditional()?;
                height = height.max(value_height);
                *slot = Some(value);
                continue;
            }
            if name.is_some() {
                self.pos += 2;
            }
            let (value, value_height) = self.conditional()?;
            height = height.max(value_height);
            match name {
                Some(name) => args.named.push((name, value)),
                None if args.named.is_empty() && args.double_star.is_none() => {
                    args.positional.push(value);
                }
                None => return self.error("positional argument after a named one"),
            }
        }
        self.expect_op(")")?;
        Ok((args, height))
    }

    fn dotted_name(&mut self) -> Result<Arc<str>> {
        let mut name = self.expect_name()?;
        while self.skip_op(".") {
            name = format!("{name}.{}", self.expect_name()?).into();
        }
        Ok(name)
    }

    fn one_filter(&mut self, value: Option<Tall>) -> Result<Tall> {
        let name = self.dotted_name()?;
        let (args, args_height) = if self.is_op("(") {
            self.args()?
        } else {
            (Args::default(), 0)
        };
        let height = value.as_ref().map_or(0, |(_, height)| *height);
        let filter = Filter {
            value: value.map(|(expr, _)| expr),
            name,
            args,
        };
        let height = self.taller(height.max(args_height))?;
        Ok((Expr::Filter(Box::new(filter)), height))
    }

    fn test(&mut self, (value, height): Tall) -> Result<Tall> {
        let negated = self.skip_name("not");
        let name = self.dotted_name()?;
        let takes_bare_argument = match self.peek() {
            Tok::Str(_) | Tok::Int(_) | Tok::Float(_) | Tok::Op("[" | "{") => true,
            Tok::Name(name) if &**name == "is" => {
                return self.error("tests cannot be chained with 'is'");
            }
            Tok::Name(name) => !matches!(&**name, "else" | "or" | "and" | "if" | "in" | "not"),
            _ => false,
        };
        let (args, args_height) = if self.is_op("(") {
            self.args()?
        } else if takes_bare_argument {
            let argument = self.primary()?;
            let (argument, height) = self.postfix(argument)?;
            let args = Args {
                positional: vec![argument],
                ..Args::default()
            };
            (args, height)
        } else {
            (Args::default(), 0)
        };
        let test = Test {
            value,
            name,
            args,
            negated,
        };
        let height = self.taller(height.max(args_height))?;
        Ok((Expr::Test(Box::new(test)), height))
    }
}
