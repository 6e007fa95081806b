//! What follows a value: attributes, subscripts, calls, filters and tests.

use std::sync::Arc;

use super::Parser;
use super::expression::Tall;
use crate::text::jinja::ast::{Args, Const, Expr, Filter, Slice, Test};
use crate::text::jinja::error::Result;
use crate::text::jinja::lexer::Tok;

impl Parser {
    pub(super) fn postfix(&mut self, mut value: Tall) -> Result<Tall> {
        loop {
            value = match self.peek() {
                Tok::Op(".") => self.attribute(value)?,
                Tok::Op("[") => self.subscript(value)?,
                Tok::Op("(") => self.call(value)?,
                _ => return Ok(value),
            };
        }
    }

    pub(super) fn filters_and_tests(&mut self, mut value: Tall) -> Result<Tall> {
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

    pub(super) fn one_filter(&mut self, value: Option<Tall>) -> Result<Tall> {
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
