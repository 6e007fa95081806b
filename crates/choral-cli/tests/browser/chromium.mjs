// Chromium from npm with the options of its command line that the tests use: --dump-dom,
// --screenshot=FILE, --window-size=W,H and an address. The build from npm runs on machines
// that have none of a browser's libraries, but answers to a protocol only.

import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const words = process.argv.slice(2);
const option = (name) => words.find((word) => word.startsWith(`--${name}=`))?.split("=")[1];
const address = words.find((word) => !word.startsWith("--"));
if (words.includes("--version")) {
  console.log("Chromium from npm");
  process.exit();
}

const browser = await puppeteer.launch({
  args: chromium.args,
  executablePath: await chromium.executablePath(),
  headless: "shell",
});
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
  const [width, height] = (option("window-size") ?? "800,600").split(",").map(Number);
  await page.setViewport({ width, height });
  await page.goto(address);
  if (option("screenshot")) await page.screenshot({ path: option("screenshot") });
  if (words.includes("--dump-dom")) console.log(await page.content());
} finally {
  await browser.close();
}
