// The conformance runner imports fs.globSync, which Node has from 22 on, for a command that is not used here.
import { register } from "node:module";

const url = (text) => `data:text/javascript,${encodeURIComponent(text)}`;
const fs = url('export * from "node:fs"; export { default } from "node:fs"; export const globSync = undefined;');
register(
  url(`export const resolve = (name, context, next) =>
    name === "fs" && context.parentURL?.includes("/conformance/dist/")
      ? { url: ${JSON.stringify(fs)}, shortCircuit: true }
      : next(name, context);`),
);
