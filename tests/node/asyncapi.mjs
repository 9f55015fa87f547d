// Reads an AsyncAPI document from standard input; writes what the official parser says of it.
import { text } from "node:stream/consumers";
import { AvroSchemaParser } from "@asyncapi/avro-schema-parser";
import { Parser } from "@asyncapi/parser";

const parser = new Parser();
parser.registerSchemaParser(AvroSchemaParser());
const { document, diagnostics } = await parser.parse(await text(process.stdin));
console.log(
  JSON.stringify({
    diagnostics: diagnostics.map(({ code, message, path }) => ({ code, message, path: path.join(".") })),
    messages: document ? document.allMessages().all().map((message) => message.name()) : [],
    operations: document ? document.operations().all().map((operation) => operation.id()) : [],
  }),
);
