//! AMX tiles for CPUs that have none, so that tests run the kernels' instructions.
//!
//! Owns a thread's tiles ([`Tiles`]: what the instructions do, and what they refuse)
//! and a handler of SIGILL that reads the instruction, does it, and steps over it.
//! Knows nothing of matrices. Only tests have it: an instruction takes microseconds.
//!
//! Source: Intel SDM, volume 2, the instructions' pages; for the arithmetic of
//! `TDPBF16PS` (which has no rounding mode and flushes denormals), the model of
//! `matmul`, which was compared with the instruction on 512,000 inputs.

use std::cell::RefCell;
use std::sync::Once;

/// Why an instruction faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No tiles are configured.
    NotConfigured,
    /// A configuration is of another palette than 1.
    Palette(u8),
    /// Reserved bytes of a configuration, or entries past the last tile, are not 0.
    Reserved,
    /// A tile has more rows or columns than there are, or only one of both.
    Tile {
        tile: usize,
        rows: u8,
        column_bytes: u16,
    },
    /// The tile has no rows.
    Unused(usize),
    /// Operands of a product are one tile.
    SameTile,
    /// Shapes of a product do not agree.
    Shapes,
}

const TILES: usize = 8;
const ROWS: usize = 16;
const ROW_BYTES: usize = 64;

/// The tiles of one thread.
#[derive(Clone)]
pub(crate) struct Tiles {
    /// As `LDTILECFG` read it; all zeros where nothing is configured.
    configuration: [u8; 64],
    data: [[[u8; ROW_BYTES]; ROWS]; TILES],
}

impl Tiles {
    pub(crate) const NONE: Self = Self {
        configuration: [0; 64],
        data: [[[0; ROW_BYTES]; ROWS]; TILES],
    };

    /// `LDTILECFG`.
    pub(crate) fn configure(&mut self, configuration: &[u8; 64]) -> Result<(), Fault> {
        let zeros = |bytes: &[u8]| bytes.iter().all(|&b| b == 0);
        match configuration[0] {
            0 => {
                *self = Self::NONE;
                return Ok(());
            }
            1 => {}
            palette => return Err(Fault::Palette(palette)),
        }
        // Start row, reserved bytes, and tiles that palette 1 does not have.
        if !zeros(&configuration[1..16])
            || !zeros(&configuration[32..48])
            || !zeros(&configuration[56..])
        {
            return Err(Fault::Reserved);
        }
        for tile in 0..TILES {
            let (rows, column_bytes) = shape(configuration, tile);
            if usize::from(rows) > ROWS
                || usize::from(column_bytes) > ROW_BYTES
                || (rows == 0) != (column_bytes == 0)
            {
                return Err(Fault::Tile {
                    tile,
                    rows,
                    column_bytes,
                });
            }
        }
        *self = Self {
            configuration: *configuration,
            ..Self::NONE
        };
        Ok(())
    }

    /// `TILERELEASE`.
    pub(crate) fn release(&mut self) {
        *self = Self::NONE;
    }

    /// Rows and bytes of a row of a tile that can be used.
    fn shape(&self, tile: usize) -> Result<(usize, usize), Fault> {
        if self.configuration[0] == 0 {
            return Err(Fault::NotConfigured);
        }
        match shape(&self.configuration, tile) {
            (0, _) => Err(Fault::Unused(tile)),
            (rows, bytes) => Ok((usize::from(rows), usize::from(bytes))),
        }
    }

    /// `TILEZERO`.
    pub(crate) fn zero(&mut self, tile: usize) -> Result<(), Fault> {
        self.shape(tile)?;
        self.data[tile] = [[0; ROW_BYTES]; ROWS];
        Ok(())
    }

    /// `TILELOADD`: `row(r, bytes)` fills the bytes that are configured of row `r`.
    pub(crate) fn load(
        &mut self,
        tile: usize,
        mut row: impl FnMut(usize, &mut [u8]),
    ) -> Result<(), Fault> {
        let (rows, bytes) = self.shape(tile)?;
        self.data[tile] = [[0; ROW_BYTES]; ROWS];
        for (r, data) in self.data[tile][..rows].iter_mut().enumerate() {
            row(r, &mut data[..bytes]);
        }
        Ok(())
    }

    /// `TILESTORED`.
    pub(crate) fn store(
        &self,
        tile: usize,
        mut row: impl FnMut(usize, &[u8]),
    ) -> Result<(), Fault> {
        let (rows, bytes) = self.shape(tile)?;
        for (r, data) in self.data[tile][..rows].iter().enumerate() {
            row(r, &data[..bytes]);
        }
        Ok(())
    }

    /// `TDPBF16PS`: `c += a * b`.
    pub(crate) fn multiply_add(&mut self, c: usize, a: usize, b: usize) -> Result<(), Fault> {
        let (c_shape, a_shape, b_shape) = (self.shape(c)?, self.shape(a)?, self.shape(b)?);
        if c == a || a == b || b == c {
            return Err(Fault::SameTile);
        }
        if c_shape.0 != a_shape.0
            || c_shape.1 != b_shape.1
            || a_shape.1 != 4 * b_shape.0
            || c_shape.1 % 4 != 0
        {
            return Err(Fault::Shapes);
        }
        for m in 0..c_shape.0 {
            for n in 0..c_shape.1 / 4 {
                let (mut even, mut odd) = (0.0, 0.0);
                for pair in 0..a_shape.1 / 4 {
                    let a = pair_at(&self.data[a][m], pair);
                    let b = pair_at(&self.data[b][pair], n);
                    even = flushed(a[0].mul_add(b[0], even));
                    odd = flushed(a[1].mul_add(b[1], odd));
                }
                let sum = &mut self.data[c][m][4 * n..4 * n + 4];
                let old = f32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
                let new = flushed(flushed(old) + flushed(even + odd));
                sum.copy_from_slice(&new.to_le_bytes());
            }
        }
        Ok(())
    }
}

fn shape(configuration: &[u8; 64], tile: usize) -> (u8, u16) {
    let bytes = [configuration[16 + 2 * tile], configuration[17 + 2 * tile]];
    (configuration[48 + tile], u16::from_le_bytes(bytes))
}

/// Two bf16 of a row, denormals as zeros.
fn pair_at(row: &[u8; ROW_BYTES], pair: usize) -> [f32; 2] {
    [0, 2].map(|at| {
        let bits = u16::from_le_bytes([row[4 * pair + at], row[4 * pair + at + 1]]);
        flushed(f32::from_bits(u32::from(bits) << 16))
    })
}

/// Denormals become zeros of their sign.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() {
        0.0_f32.copysign(x)
    } else {
        x
    }
}

thread_local! {
    // Constant and without a destructor, so that a signal handler can reach it.
    static TILES_HERE: RefCell<Tiles> = const { RefCell::new(Tiles::NONE) };
}

/// Makes AMX instructions work in this process. Where the CPU has them, nothing
/// raises the signal.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: all zeros is a value of `sigaction`.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_illegal_instruction as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the action is complete; the old one is not asked for.
        let result =
            unsafe { libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()) };
        assert_eq!(result, 0, "sigaction");
    });
}

extern "C" fn on_illegal_instruction(
    _: libc::c_int,
    _: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a context that is this handler's to change.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    let at = registers[libc::REG_RIP as usize] as *const u8;
    let Some((instruction, len)) = decode(at, registers) else {
        // Not ours: the default action meets the same instruction again, and ends it.
        // SAFETY: SIG_DFL is a valid action.
        unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
        return;
    };
    let done = TILES_HERE.with_borrow_mut(|tiles| execute(tiles, instruction));
    if let Err(fault) = done {
        eprintln!("AMX instruction {instruction:?} faults: {fault:?}");
        std::process::abort(); // a panic cannot leave a signal handler
    }
    registers[libc::REG_RIP as usize] += len as i64;
}

#[derive(Debug, Clone, Copy)]
enum Instruction {
    Configure(*const [u8; 64]),
    StoreConfiguration(*mut [u8; 64]),
    Release,
    Zero(usize),
    Load(usize, Memory),
    Store(usize, Memory),
    MultiplyAdd { c: usize, a: usize, b: usize },
}

/// Rows in memory.
#[derive(Debug, Clone, Copy)]
struct Memory {
    first: i64,
    stride: i64,
}

impl Memory {
    fn row(self, r: usize) -> *mut u8 {
        self.first.wrapping_add(self.stride.wrapping_mul(r as i64)) as *mut u8
    }
}

fn execute(tiles: &mut Tiles, instruction: Instruction) -> Result<(), Fault> {
    match instruction {
        // SAFETY: the program reads there, as it says; a wild address is its fault.
        Instruction::Configure(from) => tiles.configure(&unsafe { from.read_unaligned() }),
        Instruction::StoreConfiguration(to) => {
            // SAFETY: as above, writing.
            unsafe { to.write_unaligned(tiles.configuration) };
            Ok(())
        }
        Instruction::Release => {
            tiles.release();
            Ok(())
        }
        Instruction::Zero(tile) => tiles.zero(tile),
        Instruction::Load(tile, from) => tiles.load(tile, |r, bytes| {
            // SAFETY: as above, reading.
            unsafe {
                bytes
                    .as_mut_ptr()
                    .copy_from_nonoverlapping(from.row(r), bytes.len());
            }
        }),
        Instruction::Store(tile, to) => tiles.store(tile, |r, bytes| {
            // SAFETY: as above, writing.
            unsafe {
                to.row(r)
                    .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
        }),
        Instruction::MultiplyAdd { c, a, b } => tiles.multiply_add(c, a, b),
    }
}

/// The AMX instruction at an address and its length; `None` if it is another.
/// Source: Intel SDM, volume 2, sections 2.1.5 (`ModRM`, SIB) and 2.3.5 (VEX).
fn decode(at: *const u8, registers: &[i64; 23]) -> Option<(Instruction, usize)> {
    // SAFETY: the processor read the instruction's bytes; no more than those are read.
    let byte = |i: usize| unsafe { at.add(i).read() };
    // VEX of three bytes, opcode map 0F38, W = 0, 128 bits.
    if byte(0) != 0xc4 || byte(1) & 0x1f != 2 || byte(2) & 0x84 != 0 {
        return None;
    }
    let extension = |bit: u8| usize::from(byte(1) & bit == 0) * 8;
    let (prefix, opcode) = (byte(2) & 3, byte(3));
    let third = usize::from(!byte(2) >> 3 & 15);
    let (mode, reg, rm) = (byte(4) >> 6, byte(4) >> 3 & 7, byte(4) & 7);
    let reg_extended = usize::from(reg) + extension(0x80);
    let (none, p66, pf3, pf2) = (0, 1, 2, 3);
    let tile = |number: usize| (number < TILES).then_some(number);

    if mode == 3 {
        let rm = usize::from(rm) + extension(0x20);
        let instruction = match (opcode, prefix) {
            (0x49, p) if p == none && (reg, rm, third) == (0, 0, 0) => Instruction::Release,
            (0x49, p) if p == pf2 && (rm, third) == (0, 0) => {
                Instruction::Zero(tile(reg_extended)?)
            }
            (0x5c, p) if p == pf3 => Instruction::MultiplyAdd {
                c: tile(reg_extended)?,
                a: tile(rm)?,
                b: tile(third)?,
            },
            _ => return None,
        };
        return Some((instruction, 5));
    }
    if third != 0 {
        return None;
    }

    let register = |number: usize| {
        const ORDER: [libc::c_int; 16] = [
            libc::REG_RAX,
            libc::REG_RCX,
            libc::REG_RDX,
            libc::REG_RBX,
            libc::REG_RSP,
            libc::REG_RBP,
            libc::REG_RSI,
            libc::REG_RDI,
            libc::REG_R8,
            libc::REG_R9,
            libc::REG_R10,
            libc::REG_R11,
            libc::REG_R12,
            libc::REG_R13,
            libc::REG_R14,
            libc::REG_R15,
        ];
        registers[ORDER[number] as usize]
    };
    let four = |i: usize| i64::from(i32::from_le_bytes([0, 1, 2, 3].map(|n| byte(i + n))));
    let mut len = 5;
    let (mut first, mut stride) = (0, 0);
    let base = if rm == 4 {
        let sib = byte(5);
        len += 1;
        let index = usize::from(sib >> 3 & 7) + extension(0x40);
        if index != 4 {
            stride = register(index) << (sib >> 6);
        }
        sib & 7
    } else {
        rm
    };
    let mut length_of_displacement = [0, 1, 4][usize::from(mode)];
    let mut relative = false;
    if mode == 0 && base == 5 {
        // No base, or the next instruction's address.
        length_of_displacement = 4;
        relative = rm == 5;
    } else {
        first = register(usize::from(base) + extension(0x20));
    }
    first += match length_of_displacement {
        0 => 0,
        1 => i64::from(byte(len) as i8),
        _ => four(len),
    };
    len += length_of_displacement;
    if relative {
        first += at as i64 + len as i64;
    }
    let memory = Memory { first, stride };
    let address = first.wrapping_add(stride);
    let instruction = match (opcode, prefix) {
        (0x49, p) if p == none && reg == 0 => Instruction::Configure(address as *const [u8; 64]),
        (0x49, p) if p == p66 && reg == 0 => {
            Instruction::StoreConfiguration(address as *mut [u8; 64])
        }
        // Loads (with and without a hint) and stores need a SIB byte.
        (0x4b, p) if (p == pf2 || p == p66) && rm == 4 => {
            Instruction::Load(tile(reg_extended)?, memory)
        }
        (0x4b, p) if p == pf3 && rm == 4 => Instruction::Store(tile(reg_extended)?, memory),
        _ => return None,
    };
    Some((instruction, len))
}
