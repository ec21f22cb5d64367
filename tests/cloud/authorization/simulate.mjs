#!/usr/bin/env node
// simulate.mjs MODULES: writes the verdicts of an IAM simulator that others wrote, the
// npm package @cloud-copilot/iam-simulate, into requests.json. MODULES is the directory
// node_modules with it:
//
//     npm install --prefix DIR @cloud-copilot/iam-simulate
//     tests/cloud/authorization/simulate.mjs DIR/node_modules
//
// A request is allowed if each of its needs is. The needs are written by a unit test
// (BLESS=1), which compares them and its own verdicts with the file.
import { readFileSync, writeFileSync } from 'node:fs'

const [modules] = process.argv.slice(2)
const simulator = `${modules}/@cloud-copilot/iam-simulate`
const { version } = JSON.parse(readFileSync(`${simulator}/package.json`))
const { runSimulation } = await import(new URL(`file://${simulator}/dist/esm/index.js`))
const file = new URL('requests.json', import.meta.url)
const recorded = JSON.parse(readFileSync(file))

const ACCOUNT = '123456789012'
let wrong = 0

for (const row of recorded.requests) {
  for (const need of row.needs) {
    const result = await runSimulation({
      request: {
        principal: `arn:aws:iam::${ACCOUNT}:user/autorun`,
        action: need.action,
        resource: { resource: need.resource, accountId: ACCOUNT },
        contextVariables: need.values,
      },
      identityPolicies: [{ name: 'policy', policy: row.policy }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    }, {})
    const subject = `${row.name}: ${need.action} on ${need.resource}`
    if (result.resultType === 'error') {
      console.error(`${subject}: ${JSON.stringify(result.errors)}`)
      wrong += 1
      continue
    }
    // A condition key that the action does not have is a mistake in the need.
    const results = result.results ?? [result.result]
    const ignored = new Set(results.flatMap((one) => one.ignoredContextKeys ?? []))
    if (ignored.size > 0) {
      console.error(`${subject}: no such condition keys: ${[...ignored].join(', ')}`)
      wrong += 1
    }
    need.verdict = result.overallResult
  }
}
recorded.simulator = `@cloud-copilot/iam-simulate ${version}`
writeFileSync(file, JSON.stringify(recorded, null, 1) + '\n')
process.exit(wrong > 0 ? 1 : 0)
