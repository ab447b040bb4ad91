// How the scripts here talk with the test that runs them: a JSON value a line, in and out.
import { createInterface } from 'node:readline'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

export const read = async () => (await lines.next()).value
export const print = (value) => process.stdout.write(JSON.stringify(value) + '\n')

const ALGORITHMS = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256' },
  RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
  PS256: { name: 'RSA-PSS', hash: 'SHA-256' },
  EdDSA: { name: 'Ed25519' },
}

export async function importKey(jwk) {
  const key = await crypto.subtle.importKey('jwk', jwk, ALGORITHMS[jwk.alg], true, ['sign'])
  return { key, kid: jwk.kid }
}
