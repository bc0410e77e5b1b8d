// Reads AWS files as the SDK for JavaScript does: a JSON array of {config, credentials} on standard input, and for each
// what is read: {config, credentials}.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadSharedConfigFiles } from "@smithy/shared-ini-file-loader";

const folder = mkdtempSync(join(tmpdir(), "aws-files-"));
const [configFilepath, filepath] = [join(folder, "config"), join(folder, "credentials")];
const out = [];
for (const { config, credentials } of JSON.parse(readFileSync(0, "utf8"))) {
  writeFileSync(configFilepath, config ?? "");
  writeFileSync(filepath, credentials ?? "");
  const read = await loadSharedConfigFiles({ configFilepath, filepath, ignoreCache: true });
  out.push({ config: read.configFile, credentials: read.credentialsFile });
}
rmSync(folder, { recursive: true });
console.log(JSON.stringify(out));
